// SPDX-License-Identifier: MIT
/*
 * Sender and receiver loops. They count and time; whatever needs a decision or
 * a statistic is Python's business.
 */
#define _GNU_SOURCE /* RUSAGE_THREAD */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

/* Kernel ABI since 6.2; in liburing's header only since 2.4. */
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#endif
#ifndef IORING_NOTIF_USAGE_ZC_COPIED
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

#define SQ_ENTRIES 512
#define SLOTS 1024		/* requests in flight, notifications included */
#define CQ_ENTRIES (2 * SLOTS)	/* a slot has at most two CQEs pending */
#define STALL_SECONDS 5		/* no CQE for so long: the path is stuck */

/* Life of a slot; the order is the two-CQE contract. */
enum slot_state {
	SLOT_FREE,
	SLOT_SENT,		/* waits for its completion */
	SLOT_DUE,		/* completed; its notification is outstanding */
	SLOT_DUE_FAILED,	/* the same, of a request that failed */
};

struct slot {
	uint8_t state;
	uint8_t zerocopy;
	uint8_t timed;		/* sent after the warm-up: its notification counts */
};

struct zclab_ring {
	struct io_uring ring;
	struct zclab_send send;		/* of the slice that runs */
	struct zclab_counts n;
	char *buffer;
	size_t buffer_bytes;
	uint64_t draw;
	unsigned int zc_flags;
	bool timed;			/* the warm-up is over */
	unsigned int awaiting;		/* requests without a completion */
	unsigned int outstanding;	/* notifications due */
	unsigned int free_count;
	uint16_t free_slots[SLOTS];
	struct slot slots[SLOTS];
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t timeval_ns(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000000u + (uint64_t)tv->tv_usec * 1000u;
}

/* xorshift64: cheap enough to be drawn per request. */
static uint64_t draw(struct zclab_ring *s)
{
	uint64_t x = s->draw;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	s->draw = x;
	return x;
}

static int breach(struct zclab_ring *s, int which)
{
	s->n.breach = which;
	return -EPROTO;
}

static void release(struct zclab_ring *s, unsigned int index)
{
	s->slots[index].state = SLOT_FREE;
	s->free_slots[s->free_count++] = (uint16_t)index;
}

static int take_notification(struct zclab_ring *s, unsigned int index,
			     const struct io_uring_cqe *cqe)
{
	struct slot *slot = &s->slots[index];

	if (cqe->flags & IORING_CQE_F_MORE)
		return breach(s, ZCLAB_BREACH_NOTIFICATION_MORE);
	switch (slot->state) {
	case SLOT_SENT:
		return breach(s, ZCLAB_BREACH_NOTIFICATION_FIRST);
	case SLOT_DUE:
		if (!slot->timed)
			break;
		s->n.notifications++;
		/* The man page calls res a byte count; it is a flag (notif.c). */
		if ((uint32_t)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED)
			s->n.copied++;
		break;
	case SLOT_DUE_FAILED:
		/* Failed sends notify too, always flagged copied: kept apart. */
		s->n.failed_notifications++;
		break;
	default:
		return breach(s, ZCLAB_BREACH_NOTIFICATION_TWICE);
	}
	s->outstanding--;
	release(s, index);
	return 0;
}

static int take_completion(struct zclab_ring *s, unsigned int index,
			   const struct io_uring_cqe *cqe)
{
	struct slot *slot = &s->slots[index];

	if (slot->state != SLOT_SENT)
		return breach(s, ZCLAB_BREACH_COMPLETION_TWICE);
	s->awaiting--;
	/* Whether a notification follows is told by F_MORE, never by res. */
	if (cqe->flags & IORING_CQE_F_MORE) {
		if (!slot->zerocopy)
			return breach(s, ZCLAB_BREACH_PLAIN_MORE);
		slot->state = cqe->res < 0 ? SLOT_DUE_FAILED : SLOT_DUE;
		s->outstanding++;
	} else {
		release(s, index);
	}
	if (cqe->res >= 0) {
		s->n.requests++;
		s->n.bytes += (uint64_t)cqe->res;
		s->n.zc_requests += slot->zerocopy;
		if ((unsigned int)cqe->res < s->send.io_size_bytes)
			s->n.short_sends++;
	} else if (cqe->res == -EAGAIN) {
		s->n.eagain++;
	} else if (!s->n.error) {
		s->n.error = cqe->res;
	}
	return 0;
}

/* Takes every CQE that is in the ring now. */
static int reap(struct zclab_ring *s)
{
	struct io_uring_cqe *cqe;
	unsigned int head, taken = 0;
	int err = 0;

	/* What does not fit waits in the kernel, which costs time (5.5). */
	if (io_uring_cq_has_overflow(&s->ring))
		s->n.cq_overflow++;
	io_uring_for_each_cqe(&s->ring, head, cqe) {
		taken++;
		if (cqe->user_data >= SLOTS) {
			err = breach(s, ZCLAB_BREACH_UNKNOWN_REQUEST);
			break;
		}
		if (cqe->flags & IORING_CQE_F_NOTIF)
			err = take_notification(s, cqe->user_data, cqe);
		else
			err = take_completion(s, cqe->user_data, cqe);
		if (err)
			break;
	}
	io_uring_cq_advance(&s->ring, taken);
	return err;
}

/* Waits for at least one CQE; -ETIME when none comes for STALL_SECONDS. */
static int wait_and_reap(struct zclab_ring *s)
{
	struct __kernel_timespec ts = { .tv_sec = STALL_SECONDS };
	struct io_uring_cqe *cqe;
	int err;

	do {
		err = io_uring_wait_cqes(&s->ring, &cqe, 1, &ts, NULL);
	} while (err == -EINTR);
	return err ? err : reap(s);
}

static void prepare(struct zclab_ring *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
	unsigned int index = s->free_slots[--s->free_count];
	unsigned int size = s->send.io_size_bytes;
	int file = (int)s->send.file;
	int mode = s->send.mode;

	if (mode == ZCLAB_MIXED)
		mode = (int)(draw(s) % 3);	/* as the selftest's rand() % 3 */
	/* MSG_WAITALL in all modes alike: on TCP the kernel then retries a
	 * short send itself, and the arms differ in nothing but the mode. */
	if (mode == ZCLAB_SEND)
		io_uring_prep_send(sqe, file, s->buffer, size, MSG_WAITALL);
	else if (mode == ZCLAB_SEND_ZC)
		io_uring_prep_send_zc(sqe, file, s->buffer, size, MSG_WAITALL,
				      s->zc_flags);
	else
		io_uring_prep_send_zc_fixed(sqe, file, s->buffer, size, MSG_WAITALL,
					    s->zc_flags, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data64(sqe, index);
	s->slots[index].state = SLOT_SENT;
	s->slots[index].zerocopy = mode != ZCLAB_SEND;
	s->slots[index].timed = s->timed;
	s->awaiting++;
}

static int submit(struct zclab_ring *s)
{
	unsigned int left = s->send.batch;
	int ret;

	/* A request that fails in preparation stops a submit short unless the
	 * ring has SUBMIT_ALL; either way the count is checked. */
	while (left) {
		if (s->outstanding >= s->send.notification_lag)
			ret = io_uring_submit_and_get_events(&s->ring);
		else
			ret = io_uring_submit(&s->ring);
		if (ret == -EINTR)
			continue;
		if (ret <= 0)
			return ret ? ret : -EIO;
		left -= (unsigned int)ret;
		s->n.submits++;
	}
	return 0;
}

static int send_batch(struct zclab_ring *s)
{
	unsigned int i;
	int err;

	/* Unregistered pages stay charged to RLIMIT_MEMLOCK until notified. */
	while (s->outstanding + s->send.batch > s->send.outstanding_max) {
		err = wait_and_reap(s);
		if (err)
			return err;
	}
	for (i = 0; i < s->send.batch; i++)
		prepare(s);
	err = submit(s);
	if (err)
		return err;
	err = reap(s);
	while (!err && s->awaiting)
		err = wait_and_reap(s);
	return err ? err : s->n.error;
}

/* Sends until the budget is spent; returns the time it took in *elapsed_ns. */
static int send_for(struct zclab_ring *s, uint64_t budget_ns,
		    uint64_t *started_ns, uint64_t *elapsed_ns)
{
	uint64_t start = now_ns(), passed = 0;
	unsigned int sent;
	int err = 0;

	while (!err && passed < budget_ns) {
		for (sent = 0; !err && sent < s->send.clock_interval;
		     sent += s->send.batch)
			err = send_batch(s);
		passed = now_ns() - start;
	}
	*started_ns = start;
	*elapsed_ns = passed;
	return err;
}

static int drain(struct zclab_ring *s)
{
	int err = 0;

	while (!err && s->outstanding)
		err = wait_and_reap(s);
	return err;
}

static bool valid(const struct zclab_ring *s, const struct zclab_send *send)
{
	return send->batch >= 1 && send->batch <= SQ_ENTRIES &&
	       send->io_size_bytes >= 1 &&
	       send->io_size_bytes <= s->buffer_bytes &&
	       send->outstanding_max >= send->batch &&
	       send->outstanding_max <= SLOTS && send->seed;
}

int zclab_ring_slice(struct zclab_ring *s, const struct zclab_send *send,
		     uint64_t warmup_ns, uint64_t budget_ns,
		     struct zclab_counts *out)
{
	struct zclab_counts *n = &s->n;
	uint64_t warm = 0, warm_bytes = 0, unused, start;
	struct rusage before, after;
	int err;

	/* A slice that failed half-way may have left requests in flight. */
	if (!valid(s, send) || s->awaiting || s->outstanding)
		return -EINVAL;
	s->send = *send;
	s->draw = send->seed;
	s->zc_flags = send->report_usage ? IORING_SEND_ZC_REPORT_USAGE : 0;
	memset(n, 0, sizeof(*n));
	s->timed = false;
	err = send_for(s, warmup_ns, &unused, &unused);
	if (err)
		goto out;
	/* Not drained here: the timed part begins and ends with notifications
	 * outstanding, so as many are taken inside the clock as are caused. */
	warm = n->requests;
	warm_bytes = n->bytes;
	memset(n, 0, sizeof(*n));
	s->timed = true;

	getrusage(RUSAGE_THREAD, &before);
	err = send_for(s, budget_ns, &n->started_ns, &n->elapsed_ns);
	getrusage(RUSAGE_THREAD, &after);
	n->outstanding = s->outstanding;
	n->cpu_user_ns = timeval_ns(&after.ru_utime) - timeval_ns(&before.ru_utime);
	n->cpu_sys_ns = timeval_ns(&after.ru_stime) - timeval_ns(&before.ru_stime);
	if (err)
		goto out;
	start = now_ns();
	err = drain(s);
	n->drain_ns = now_ns() - start;
out:
	n->sent_total = n->requests + warm;
	n->sent_total_bytes = n->bytes + warm_bytes;
	*out = *n;
	return err;
}

/* The flags of the newest kernels first; each step down is an older kernel. */
static int open_ring(struct io_uring *ring, unsigned int *flags)
{
	static const unsigned int tries[] = {
		/* 6.1 */
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
			IORING_SETUP_DEFER_TASKRUN,
		/* 6.0 */
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
			IORING_SETUP_COOP_TASKRUN,
		0,
	};
	struct io_uring_params p;
	unsigned int i;
	int err = -EINVAL;

	for (i = 0; i < sizeof(tries) / sizeof(tries[0]) && err == -EINVAL; i++) {
		memset(&p, 0, sizeof(p));
		p.flags = tries[i] | IORING_SETUP_CQSIZE;
		p.cq_entries = CQ_ENTRIES;
		err = io_uring_queue_init_params(SQ_ENTRIES, ring, &p);
		*flags = p.flags;
	}
	return err;
}

static int open_buffer(struct zclab_ring *s, uint64_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t i;

	s->buffer_bytes = (bytes + page - 1) / page * page;
	s->buffer = mmap(NULL, s->buffer_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->buffer == MAP_FAILED)
		return -errno;
	for (i = 0; i < s->buffer_bytes; i++)
		s->buffer[i] = (char)('a' + i % 26);
	return 0;
}

int zclab_ring_open(const int *fds, unsigned int count, uint64_t buffer_bytes,
		    struct zclab_ring **out, struct zclab_ring_facts *facts)
{
	struct zclab_ring *s;
	struct iovec iov;
	unsigned int i;
	int err;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	memset(facts, 0, sizeof(*facts));
	for (i = 0; i < SLOTS; i++)
		release(s, i);

	err = open_ring(&s->ring, &facts->setup_flags);
	if (err)
		goto free_ring;
	facts->sq_entries = s->ring.sq.ring_entries;
	facts->cq_entries = s->ring.cq.ring_entries;
	err = open_buffer(s, buffer_bytes);
	if (err)
		goto exit_ring;
	err = io_uring_register_files(&s->ring, fds, count);
	if (err)
		goto unmap_buffer;
	iov = (struct iovec){ s->buffer, s->buffer_bytes };
	err = io_uring_register_buffers(&s->ring, &iov, 1);
	if (err)
		goto unmap_buffer;
	/* An optimisation of 5.18; without it every enter looks the fd up. */
	facts->registered_ring = io_uring_register_ring_fd(&s->ring) == 1;
	*out = s;
	return 0;

unmap_buffer:
	munmap(s->buffer, s->buffer_bytes);
exit_ring:
	io_uring_queue_exit(&s->ring);
free_ring:
	free(s);
	return err;
}

void zclab_ring_close(struct zclab_ring *s)
{
	io_uring_queue_exit(&s->ring);
	munmap(s->buffer, s->buffer_bytes);
	free(s);
}

/* Takes what one socket holds; 0 when it is empty, or -errno. */
static int receive_ready(int fd, int stream, struct zclab_tally *tally)
{
	static const size_t stream_bytes = 1 << 21;
	char head[64];
	ssize_t got;

	for (;;) {
		/* MSG_TRUNC: the payload is counted, not copied out, as the
		 * kernel's msg_zerocopy receiver does (udp(7), tcp(7)). */
		if (stream)
			got = recv(fd, NULL, stream_bytes, MSG_TRUNC | MSG_DONTWAIT);
		else
			got = recv(fd, head, sizeof(head), MSG_TRUNC | MSG_DONTWAIT);
		if (got < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (stream && got == 0) {
			tally->closed = 1;
			return 0;
		}
		tally->bytes += (uint64_t)got;
		__atomic_store_n(&tally->received, tally->received + 1,
				 __ATOMIC_RELEASE);
	}
}

static int receive_loop(int poll, const int *fds, const int *streams,
			struct zclab_tally *tallies, const uint64_t *stop)
{
	struct epoll_event events[16];
	int i, ready, err;

	while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
		ready = epoll_wait(poll, events, 16, 100);
		if (ready < 0 && errno != EINTR)
			return -errno;
		for (i = 0; i < ready; i++) {
			uint32_t k = events[i].data.u32;

			err = receive_ready(fds[k], streams[k], &tallies[k]);
			if (err)
				tallies[k].error = (uint64_t)-err;
			if (err || tallies[k].closed)
				epoll_ctl(poll, EPOLL_CTL_DEL, fds[k], NULL);
		}
	}
	return 0;
}

int zclab_receive(const int *fds, unsigned int count, struct zclab_tally *tallies,
		  const uint64_t *stop)
{
	int poll, err = 0, *streams;
	unsigned int i;

	streams = calloc(count, sizeof(*streams));
	if (!streams)
		return -ENOMEM;
	poll = epoll_create1(EPOLL_CLOEXEC);
	if (poll < 0) {
		err = -errno;
		goto free_streams;
	}
	for (i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u32 = i };
		socklen_t len = sizeof(int);
		int type;

		if (getsockopt(fds[i], SOL_SOCKET, SO_TYPE, &type, &len) ||
		    epoll_ctl(poll, EPOLL_CTL_ADD, fds[i], &event)) {
			err = -errno;
			goto close_poll;
		}
		streams[i] = type == SOCK_STREAM;
	}
	err = receive_loop(poll, fds, streams, tallies, stop);
close_poll:
	close(poll);
free_streams:
	free(streams);
	return err;
}

/*
 * The only sure test of the copied flag is a send that carries it: kernels
 * before 6.2 refuse an unknown flag with -EINVAL. A UDP socket to its own
 * loopback address is enough, and no packet leaves the host.
 */
static int probe_report_usage(void)
{
	static const struct zclab_send send = {
		.mode = ZCLAB_SEND_ZC, .io_size_bytes = 1, .batch = 1,
		.notification_lag = 1, .outstanding_max = 8, .clock_interval = 1,
		.report_usage = 1, .seed = 1,
	};
	struct sockaddr_in self = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(self);
	struct zclab_ring_facts facts;
	struct zclab_ring *ring;
	struct zclab_counts counts;
	int fd, err;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&self, len) ||
	    getsockname(fd, (struct sockaddr *)&self, &len) ||
	    connect(fd, (struct sockaddr *)&self, len)) {
		err = -errno;
		goto close_fd;
	}
	err = zclab_ring_open(&fd, 1, 1, &ring, &facts);
	if (err)
		goto close_fd;
	err = zclab_ring_slice(ring, &send, 0, 1, &counts);
	zclab_ring_close(ring);
close_fd:
	close(fd);
	if (err == -EINVAL)
		return 0;
	return err ? err : 1;
}

void zclab_probe(struct zclab_support *out)
{
	struct io_uring_probe *probe;
	struct io_uring ring;
	unsigned int flags = 0;

	memset(out, 0, sizeof(*out));
	out->error = open_ring(&ring, &flags);
	if (out->error)
		return;
	out->defer_taskrun = !!(flags & IORING_SETUP_DEFER_TASKRUN);
	probe = io_uring_get_probe_ring(&ring);
	if (probe) {
		out->send_zc = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
		io_uring_free_probe(probe);
	}
	io_uring_queue_exit(&ring);
	if (out->send_zc)
		out->report_usage = probe_report_usage();
}

const char *zclab_liburing_version(void)
{
	return ZCLAB_LIBURING_VERSION;
}

const char *zclab_compiler(void)
{
#ifdef __clang__
	return "clang " __clang_version__;
#else
	return "gcc " __VERSION__;
#endif
}
