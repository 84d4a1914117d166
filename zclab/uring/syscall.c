// SPDX-License-Identifier: MIT
/*
 * One sendmsg(2) per request, with and without MSG_ZEROCOPY: what the kernel's own
 * msg_zerocopy test does. Notifications come from the socket's error queue, as
 * ranges of request numbers (Documentation/networking/msg_zerocopy.rst).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include <linux/errqueue.h> /* wants struct timespec to be there */

#include "ring.h"

#define STOP_POLL_MS (STOP_POLL_NS / 1000000)

#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif

/* Numbers wrap: how many of `first` to `last` are not before `from`. */
static uint32_t count_from(uint32_t first, uint32_t last, uint32_t from)
{
	if ((int32_t)(from - first) <= 0)
		return last - first + 1;
	if ((int32_t)(from - last) > 0)
		return 0;
	return last - from + 1;
}

/* The send that is about to be numbered reads the buffer whose turn it is. */
static void note_reading(struct zclab_ring *s, struct file *file)
{
	struct reading *reading = &s->readings[s->buffer];

	if (!reading->due)
		*reading = (struct reading){ file, file->zerocopy_next, 0, 0 };
	reading->sends++;	/* parts of one request have numbers in a row */
	reading->due++;
}

static void end_readings(struct zclab_ring *s, const struct file *file, uint32_t first,
			 uint32_t last)
{
	unsigned int i;
	uint32_t k;

	for (i = 0; i < s->send.buffers; i++) {
		struct reading *reading = &s->readings[i];

		if (!reading->due || reading->file != file)
			continue;
		for (k = 0; k < reading->sends; k++)
			if (reading->first + k - first <= last - first)
				reading->due--;
	}
}

static int take_range(struct zclab_ring *s, struct file *file,
		      const struct sock_extended_err *ee)
{
	uint32_t first = ee->ee_info, last = ee->ee_data, timed;

	if ((int32_t)(file->zerocopy_next - last) <= 0 || (int32_t)(last - first) < 0)
		return breach(s, ZCLAB_BREACH_UNKNOWN_REQUEST);
	if (last - first + 1 > file->outstanding)
		return breach(s, ZCLAB_BREACH_NOTIFICATION_TWICE);
	file->outstanding -= last - first + 1;
	s->outstanding -= last - first + 1;
	if (s->send.unit_bytes)
		end_readings(s, file, first, last);
	timed = s->timed ? count_from(first, last, file->zerocopy_timed) : 0;
	s->n.ranges++;
	s->n.notifications += timed;
	if (ee->ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
		s->n.copied += timed;
	return 0;
}

static int take_error_message(struct zclab_ring *s, struct file *file,
			      struct msghdr *message)
{
	struct cmsghdr *head;

	for (head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
		struct sock_extended_err ee;

		if (!(head->cmsg_level == SOL_IP && head->cmsg_type == IP_RECVERR) &&
		    !(head->cmsg_level == SOL_IPV6 && head->cmsg_type == IPV6_RECVERR))
			continue;
		memcpy(&ee, CMSG_DATA(head), sizeof(ee));
		if (ee.ee_origin == SO_EE_ORIGIN_ZEROCOPY)
			return take_range(s, file, &ee);
	}
	return 0;
}

/* Takes all notifications that wait at one socket. */
static int take_ranges(struct zclab_ring *s, struct file *file)
{
	_Alignas(struct cmsghdr) char control[256];
	int err = 0;

	while (!err) {
		struct msghdr message = {
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};

		if (recvmsg(file->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		err = take_error_message(s, file, &message);
	}
	return err;
}

/* Looks for notifications at every socket of the arm. */
static int look(struct zclab_ring *s)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < s->send.flows; i++)
		err = take_ranges(s, &s->files[s->send.file + i]);
	s->since_look = 0;	/* whether anything came or not */
	return err;
}

/*
 * Waits until the socket can be written to, or, without `writing`, until its error
 * queue has something. 1: so it is; 0: not within STOP_POLL_MS; or -errno.
 */
static int ready(const struct file *file, bool writing)
{
	struct pollfd poll_fd = { .fd = file->fd, .events = writing ? POLLOUT : 0 };
	int found = poll(&poll_fd, 1, STOP_POLL_MS);

	if (found < 0)
		return errno == EINTR ? 0 : -errno;
	if (poll_fd.revents & POLLNVAL)
		return -EBADF;
	return writing ? !!(poll_fd.revents & (POLLOUT | POLLHUP)) :
			 !!(poll_fd.revents & POLLERR);
}

/* Takes a socket's notifications until what they count down is at 0. */
static int await_none(struct zclab_ring *s, struct file *file, const uint32_t *left)
{
	uint64_t begun = *left ? now_ns() : 0;
	int err;

	while (*left) {
		err = take_ranges(s, file);
		if (!err && *left)
			err = ready(file, false);
		if (err < 0)
			return err;
		if (!*left)
			break;
		if (given_up(s))
			return -ECANCELED;
		if (now_ns() > begun + STALL_NS)
			return -ETIME;
	}
	return 0;
}

static int await_writable(struct zclab_ring *s, struct file *file)
{
	bool zerocopy = s->send.mode == ZCLAB_MSG_ZEROCOPY;
	uint64_t begun = 0;
	int err;

	for (;;) {
		err = ready(file, true);
		if (err)
			return err < 0 ? err : 0;
		if (zerocopy) {
			err = look(s);
			if (err)
				return err;
		}
		if (!begun)
			begun = now_ns();
		if (given_up(s))
			return -ECANCELED;
		if (now_ns() > begun + STALL_NS)
			return -ETIME;
	}
}

/* A batch here is so many sends between setting the cork and clearing it. */
static int cork_before(struct zclab_ring *s)
{
	return s->send.cork && !s->corked ? set_cork(s, 1) : 0;
}

static int cork_after(struct zclab_ring *s)
{
	if (!s->send.cork || ++s->corked < s->send.batch)
		return 0;
	s->corked = 0;
	return set_cork(s, 0);
}

/* One sendmsg(2), with its count and what notifications there are; sent or -errno
 * in *sent. */
static int send_once(struct zclab_ring *s, struct file *file,
		     const struct message *message, unsigned int flags, ssize_t *sent)
{
	bool zerocopy = s->send.mode == ZCLAB_MSG_ZEROCOPY;
	int err = cork_before(s);

	if (err)
		return err;
	*sent = sendmsg(file->fd, &message->header, (int)flags);
	if (*sent < 0)
		*sent = -errno;
	s->n.submits++;
	err = cork_after(s);
	if (zerocopy && *sent == -ENOBUFS)
		*sent = -EAGAIN;	/* notifications fill net.core.optmem_max */
	take_result(s, (int)*sent, zerocopy);
	if (zerocopy && *sent >= 0) {
		if (s->send.unit_bytes)
			note_reading(s, file);
		file->zerocopy_next++;
		file->outstanding++;
		s->outstanding++;
		s->since_look++;
	}
	if (!err && zerocopy && (s->since_look >= s->send.lag || *sent < 0))
		err = look(s);
	if (!err && zerocopy && s->send.drain == ZCLAB_DRAIN_EACH)
		err = syscall_drain(s);
	return err ? err : await_writable(s, file);
}

static void skip(struct msghdr *header, size_t bytes)
{
	while (header->msg_iovlen && bytes >= header->msg_iov->iov_len) {
		bytes -= header->msg_iov->iov_len;
		header->msg_iov++;
		header->msg_iovlen--;
	}
	if (bytes) {
		header->msg_iov->iov_base = (char *)header->msg_iov->iov_base + bytes;
		header->msg_iov->iov_len -= bytes;
	}
}

/* A stream may take a part: the rest of its units must follow at once, or what
 * comes next is out of step. Each part counts as a request. */
static int send_rest(struct zclab_ring *s, struct file *file, struct message *message,
		     unsigned int flags, ssize_t sent)
{
	size_t left = s->send.io_size_bytes;
	int err = 0;

	for (;;) {
		if (sent > 0) {
			left -= (size_t)sent;
			skip(&message->header, (size_t)sent);
		}
		if (err || !left || (sent < 0 && sent != -EAGAIN))
			return err;
		err = send_once(s, file, message, flags, &sent);
	}
}

/* Sends one request; what the kernel puts off is tried again by the next one. */
int syscall_send(struct zclab_ring *s)
{
	bool zerocopy = s->send.mode == ZCLAB_MSG_ZEROCOPY;
	struct file *file = next_file(s);
	struct message *message = &s->messages[0];
	unsigned int flags = MSG_DONTWAIT | MSG_NOSIGNAL |
			     (s->msg_flags & ~(unsigned int)MSG_WAITALL);
	char *payload = buffer(s);
	ssize_t sent = -EAGAIN;
	int err = 0;

	if (zerocopy && s->outstanding >= s->send.outstanding_max)
		err = syscall_drain(s);
	/* A buffer may be stamped anew only when nobody reads it any more. That it is
	 * the oldest says nothing: notifications of several sockets come in no order. */
	if (!err && zerocopy && s->send.unit_bytes)
		err = await_none(s, s->readings[s->buffer].file,
				 &s->readings[s->buffer].due);
	if (err)
		return err;
	if (s->send.unit_bytes)
		stamp(s, file, payload);
	fill_message(s, message, payload);
	if (s->send.more > 1)
		flags |= more_flag(s);
	if (zerocopy)
		flags |= MSG_ZEROCOPY;
	err = send_once(s, file, message, flags, &sent);
	if (s->send.unit_bytes && sent >= 0 && !err)
		err = send_rest(s, file, message, flags, sent);
	if (sent >= 0)
		pass_buffer(s);
	else if (s->send.unit_bytes)	/* unsent: the number is given again */
		file->units -= s->send.io_size_bytes / s->send.unit_bytes;
	return err;
}

/* Awaits the notifications that are outstanding, socket by socket. */
int syscall_drain(struct zclab_ring *s)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < s->send.flows; i++) {
		struct file *file = &s->files[s->send.file + i];

		err = await_none(s, file, &file->outstanding);
	}
	s->since_look = 0;
	return err;
}
