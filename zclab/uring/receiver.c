// SPDX-License-Identifier: MIT
/* The receiver: drains sockets, counts, and looks at the payload when asked to. */
#define _GNU_SOURCE /* RUSAGE_THREAD, accept4 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ring.h"

#define READ_BYTES (1 << 21)	/* more than a datagram, and than most of a socket */
#define WAIT_MS 50
#define TURN 64		/* reads of one socket before the next one's turn */

/* What is known of one socket that was given, or of one that it accepted. */
struct inlet {
	int fd;
	bool listening, stream, accepted;
	unsigned int unit_bytes;
	struct zclab_tally *tally;
	struct inlet *next;	/* of those accepted */
	uint64_t expected;	/* number of the next unit */
	unsigned int at;	/* bytes of it that came already (TCP) */
	uint64_t number;	/* of the unit that is being read */
	bool bad;
};

struct receiver {
	int poll;
	struct inlet *inlets;
	struct inlet *accepted;
	char *buffer;
	struct zclab_inbox *inbox;
};

/* Looks at the next bytes of a unit; the number is what its head says, or, over
 * TCP, what must come next: a stream has no other order. */
static void check_bytes(struct inlet *inlet, const unsigned char *bytes, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		unsigned int at = inlet->at;

		if (!inlet->stream && at < sizeof(inlet->number))
			inlet->number |= (uint64_t)bytes[i] << (8 * at);
		else if (bytes[i] != unit_byte(inlet->number, at))
			inlet->bad = true;
		if (++inlet->at < inlet->unit_bytes)
			continue;
		inlet->tally->corrupt += inlet->bad;
		if (!inlet->stream && inlet->number < inlet->expected)
			inlet->tally->disordered++;
		if (inlet->stream || inlet->number >= inlet->expected)
			inlet->expected = inlet->number + 1;
		inlet->number = inlet->stream ? inlet->expected : 0;
		inlet->at = 0;
		inlet->bad = false;
	}
}

static void check_datagram(struct inlet *inlet, const char *bytes, size_t count)
{
	check_bytes(inlet, (const unsigned char *)bytes, count);
	if (inlet->at)		/* a datagram holds whole units */
		inlet->tally->corrupt++;
	inlet->at = 0;
	inlet->number = 0;
	inlet->bad = false;
}

static ssize_t take(struct receiver *r, struct inlet *inlet)
{
	/* MSG_TRUNC: the payload is counted, not copied out, as the kernel's
	 * msg_zerocopy receiver does (udp(7), tcp(7)). */
	if (inlet->unit_bytes)
		return recv(inlet->fd, r->buffer, READ_BYTES, MSG_DONTWAIT);
	if (inlet->stream)
		return recv(inlet->fd, NULL, READ_BYTES, MSG_TRUNC | MSG_DONTWAIT);
	return recv(inlet->fd, r->buffer, 64, MSG_TRUNC | MSG_DONTWAIT);
}

/* Takes what one socket holds, or its turn; 1 when it is done, 0 or -errno. */
static int receive_ready(struct receiver *r, struct inlet *inlet)
{
	struct zclab_tally *tally = inlet->tally;
	unsigned int turn;
	ssize_t got;

	for (turn = 0; turn < TURN; turn++) {
		got = take(r, inlet);
		if (got < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (inlet->stream && got == 0) {
			tally->closed++;
			return 1;
		}
		if (inlet->unit_bytes && inlet->stream)
			check_bytes(inlet, (unsigned char *)r->buffer, (size_t)got);
		else if (inlet->unit_bytes)
			check_datagram(inlet, r->buffer, (size_t)got);
		tally->bytes += (uint64_t)got;
		__atomic_store_n(&tally->received, tally->received + 1,
				 __ATOMIC_RELEASE);
	}
	return 0;
}

static int watch(struct receiver *r, struct inlet *inlet)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = inlet };
	socklen_t length = sizeof(int);
	int type = 0, listening = 0;

	if (getsockopt(inlet->fd, SOL_SOCKET, SO_TYPE, &type, &length) ||
	    getsockopt(inlet->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) ||
	    epoll_ctl(r->poll, EPOLL_CTL_ADD, inlet->fd, &event))
		return -errno;
	inlet->stream = type == SOCK_STREAM;
	inlet->listening = listening;
	return 0;
}

static int accept_one(struct receiver *r, struct inlet *listening)
{
	struct inlet *inlet;
	int err, fd = accept4(listening->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED ?
			0 : -errno;
	inlet = calloc(1, sizeof(*inlet));
	if (!inlet) {
		close(fd);
		return -ENOMEM;
	}
	inlet->fd = fd;
	inlet->accepted = true;
	inlet->unit_bytes = listening->unit_bytes;
	inlet->tally = listening->tally;
	err = watch(r, inlet);
	if (err) {
		close(fd);
		free(inlet);
		return err;
	}
	inlet->next = r->accepted;
	r->accepted = inlet;
	listening->tally->accepted++;
	return 0;
}

/* No more is awaited of a socket; one that was accepted is closed as well. */
static void leave(struct receiver *r, struct inlet *inlet)
{
	epoll_ctl(r->poll, EPOLL_CTL_DEL, inlet->fd, NULL);
	if (!inlet->accepted)
		return;
	close(inlet->fd);
	inlet->fd = -1;
}

void tell_usage(struct zclab_inbox *inbox)
{
	struct rusage usage;

	usage_now(RUSAGE_THREAD, &usage);
	inbox->cpu_user_ns = timeval_ns(&usage.ru_utime);
	inbox->cpu_sys_ns = timeval_ns(&usage.ru_stime);
	inbox->switches = (uint64_t)usage.ru_nvcsw + (uint64_t)usage.ru_nivcsw;
}

static void take_turn(struct zclab_inbox *inbox)
{
	__atomic_store_n(&inbox->turns, inbox->turns + 1, __ATOMIC_RELEASE);
}

void tell_idle(struct zclab_inbox *inbox)
{
	tell_usage(inbox);
	take_turn(inbox);
}

void tell_busy(struct zclab_inbox *inbox)
{
	take_turn(inbox);
}

static int receive_loop(struct receiver *r)
{
	struct epoll_event events[16];
	int i, count, err;

	while (!__atomic_load_n(&r->inbox->stop, __ATOMIC_ACQUIRE)) {
		tell_idle(r->inbox);
		count = epoll_wait(r->poll, events, 16, WAIT_MS);
		if (count < 0 && errno != EINTR)
			return -errno;
		tell_busy(r->inbox);
		for (i = 0; i < count; i++) {
			struct inlet *inlet = events[i].data.ptr;

			err = inlet->listening ? accept_one(r, inlet) :
						 receive_ready(r, inlet);
			if (err < 0)
				inlet->tally->error = (uint64_t)-err;
			if (err)
				leave(r, inlet);
		}
	}
	return 0;
}

static void free_accepted(struct receiver *r)
{
	while (r->accepted) {
		struct inlet *inlet = r->accepted;

		r->accepted = inlet->next;
		if (inlet->fd >= 0)
			close(inlet->fd);
		free(inlet);
	}
}

int zclab_receive(const int *fds, const unsigned int *units, unsigned int count,
		  struct zclab_inbox *inbox, struct zclab_tally *tallies)
{
	struct receiver r = { .inbox = inbox };
	unsigned int i;
	int err = 0;

	r.inlets = calloc(count, sizeof(*r.inlets));
	r.buffer = malloc(READ_BYTES);
	r.poll = epoll_create1(EPOLL_CLOEXEC);
	if (!r.inlets || !r.buffer)
		err = -ENOMEM;
	else if (r.poll < 0)
		err = -errno;
	for (i = 0; !err && i < count; i++) {
		r.inlets[i].fd = fds[i];
		r.inlets[i].unit_bytes = units[i];
		r.inlets[i].tally = &tallies[i];
		err = watch(&r, &r.inlets[i]);
	}
	if (!err)
		err = receive_loop(&r);
	free_accepted(&r);
	if (r.poll >= 0)
		close(r.poll);
	free(r.buffer);
	free(r.inlets);
	return err;
}
