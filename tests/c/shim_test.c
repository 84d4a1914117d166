// SPDX-License-Identifier: MIT
/*
 * The contract of shim.h, checked from C: so that what the sanitizers see is the
 * shim alone, and every path of it, without an interpreter around it.
 *
 * Usage: shim_test [part of a case's name]
 */
#define _GNU_SOURCE
#include <liburing.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "loopback.h"
#include "shim.h"

#define MS 1000000ull
#define ANSWER_NS (1000 * MS)	/* a stop word must have acted by then */
#define STRIDE 2048u

static unsigned int failed_checks;
static const char *doing = "";	/* named with what fails */

static void fail(int line, const char *condition)
{
	fprintf(stderr, "shim_test.c:%d: %s: not so: %s\n", line, doing, condition);
	failed_checks++;
}

#define CHECK(condition)                                \
	do {                                            \
		if (!(condition))                       \
			fail(__LINE__, #condition);     \
	} while (0)

#define CHECK_EQ(have, want)                                                       \
	do {                                                                       \
		long long have_ = (long long)(have), want_ = (long long)(want);    \
                                                                                   \
		if (have_ != want_) {                                              \
			fail(__LINE__, #have " == " #want);                        \
			fprintf(stderr, "\thave %lld, want %lld\n", have_, want_); \
		}                                                                  \
	} while (0)

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void pause_ns(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000u),
			       .tv_nsec = (long)(ns % 1000000000u) };

	nanosleep(&ts, NULL);
}

/* What it is there for is that it interrupts. */
static void on_signal(int number)
{
	(void)number;
}

/* ---- the modes ------------------------------------------------------------ */

enum {
	ZEROCOPY = 1,		/* each request is */
	PINS = 2,		/* unregistered pages, so they are charged */
	BY_RING = 4,
	OWN_WAIT = 8,		/* stands for those that wait in the same way */
};

struct way {
	const char *name;
	int mode;
	unsigned int is;
};

static const struct way ways[] = {
	{ "send", ZCLAB_SEND, BY_RING | OWN_WAIT },
	{ "sendmsg", ZCLAB_SENDMSG, BY_RING },
	{ "send_vec", ZCLAB_SEND_VEC, BY_RING },
	{ "send_zc", ZCLAB_SEND_ZC, ZEROCOPY | PINS | BY_RING },
	{ "send_zc_fixed", ZCLAB_SEND_ZC_FIXED, ZEROCOPY | BY_RING | OWN_WAIT },
	{ "send_zc_vec", ZCLAB_SEND_ZC_VEC, ZEROCOPY | PINS | BY_RING },
	{ "sendmsg_zc", ZCLAB_SENDMSG_ZC, ZEROCOPY | PINS | BY_RING },
	{ "sendmsg_zc_fixed", ZCLAB_SENDMSG_ZC_FIXED, ZEROCOPY | BY_RING },
	{ "mixed", ZCLAB_MIXED, PINS | BY_RING },
	{ "send_sync", ZCLAB_SEND_SYNC, OWN_WAIT },
	{ "msg_zerocopy", ZCLAB_MSG_ZEROCOPY, ZEROCOPY | PINS | OWN_WAIT },
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

static bool supported[WAYS];
static unsigned int weights[ZCLAB_OPS];	/* one each of what the kernel takes */

static void probe(void)
{
	size_t i;
	int err;

	for (i = 0; i < WAYS; i++) {
		supported[i] = true;
		if (ways[i].mode == ZCLAB_MIXED)
			continue;
		err = zclab_probe_mode(ways[i].mode, 1);
		if (err) {
			printf("skip: %s: %s\n", ways[i].name, strerror(-err));
			supported[i] = false;
		} else if (ways[i].mode < ZCLAB_OPS) {
			weights[ways[i].mode] = 1;
		}
	}
}

/* The next way that this kernel takes, which is then what the test is doing. */
static const struct way *way_from(size_t i)
{
	while (i < WAYS && !supported[i])
		i++;
	if (i == WAYS)
		return NULL;
	doing = ways[i].name;
	return &ways[i];
}

#define FOR_EACH_WAY(way) \
	for (way = way_from(0); way; way = way_from((size_t)(way - ways) + 1))

/* ---- a path with a receiver ----------------------------------------------- */

struct rig {
	struct pair pair;
	bool tcp;
	bool receives;
	unsigned int unit_bytes;
	pthread_t thread;
	struct zclab_inbox inbox;
	struct zclab_tally tally;
	int result;
	struct zclab_ring *ring;
	struct zclab_ring_facts facts;
};

static void *receive(void *given)
{
	struct rig *rig = given;

	rig->result = zclab_receive(&rig->pair.receiving, &rig->unit_bytes, 1,
				    &rig->inbox, &rig->tally);
	return NULL;
}

static const struct zclab_setup usual_setup = {
	.submit_all = 1, .sqpoll_cpu = -1, .registered_ring = 1, .sq_entries = 128,
	.cq_entries = 2048, .buffer_bytes = 64 * STRIDE,
	.registered_bytes = 64 * STRIDE,
};

static const struct zclab_send usual_send = {
	.mode = ZCLAB_SEND, .flows = 1, .registered_file = 1, .io_size_bytes = 1200,
	.batch = 8, .iovecs = 1, .buffer_stride = STRIDE, .buffers = 1, .lag = 32,
	.outstanding_max = 64, .clock_interval = 8, .report_usage = 1, .waitall = 1,
	.more = 1, .seed = 1,
};

static const struct zclab_span usual_span = {
	.budget_ns = 1000 * MS, .requests_max = 200,
};

/* What closed rings were charged is given back a little after they were closed. */
static int open_ring_patiently(const struct zclab_setup *setup, struct rig *rig)
{
	uint64_t end = now_ns() + 1000 * MS;
	int err;

	do {
		err = zclab_ring_open(setup, &rig->pair.sending, 1, &rig->ring,
				      &rig->facts);
		if (err == -ENOMEM)
			pause_ns(MS);
	} while (err == -ENOMEM && now_ns() < end);
	return err;
}

static void open_rig(struct rig *rig, int protocol, bool receives,
		     unsigned int unit_bytes, const struct zclab_setup *setup)
{
	memset(rig, 0, sizeof(*rig));
	rig->tcp = protocol == SOCK_STREAM;
	rig->pair = rig->tcp ? open_tcp(AF_INET) : open_udp(AF_INET);
	rig->unit_bytes = unit_bytes;
	rig->receives = receives;
	if (receives)
		CHECK_EQ(pthread_create(&rig->thread, NULL, receive, rig), 0);
	CHECK_EQ(open_ring_patiently(setup, rig), 0);
	if (!rig->ring)
		exit(1);
}

static uint64_t received_bytes(struct rig *rig)
{
	__atomic_load_n(&rig->tally.received, __ATOMIC_ACQUIRE);
	return __atomic_load_n(&rig->tally.bytes, __ATOMIC_RELAXED);
}

static void await_bytes(struct rig *rig, uint64_t bytes)
{
	uint64_t end = now_ns() + 3000 * MS;

	while (received_bytes(rig) < bytes && now_ns() < end)
		pause_ns(MS / 10);
}

static void end_receiver(struct rig *rig)
{
	if (!rig->receives)
		return;
	__atomic_store_n(&rig->inbox.stop, 1, __ATOMIC_RELEASE);
	pthread_kill(rig->thread, SIGUSR1);	/* or it would look in 50 ms only */
	pthread_join(rig->thread, NULL);
	CHECK_EQ(rig->result, 0);
	rig->receives = false;
}

static void close_rig(struct rig *rig)
{
	zclab_ring_close(rig->ring);
	end_receiver(rig);
	close_pair(&rig->pair);
}

static struct zclab_send sends(const struct way *way)
{
	struct zclab_send send = usual_send;

	send.mode = way->mode;
	memcpy(send.weights, weights, sizeof(weights));
	return send;
}

/* Over TCP several requests in flight would be reordered. */
static struct zclab_send sends_over(const struct way *way, const struct rig *rig)
{
	struct zclab_send send = sends(way);

	if (rig->tcp)
		send.batch = 1;
	return send;
}

static uint64_t sum(const uint64_t *values, unsigned int count)
{
	uint64_t total = 0;

	while (count--)
		total += values[count];
	return total;
}

/* What holds for the counts of every slice that was not cut off. */
static void check_counts(const struct zclab_counts *n, const struct zclab_send *send)
{
	CHECK_EQ(n->breach, ZCLAB_BREACH_NONE);
	CHECK_EQ(n->notifications, n->zc_requests);
	CHECK(n->copied <= n->notifications);
	CHECK(n->zc_requests <= n->requests);
	CHECK(n->requests <= n->sent_total);
	CHECK(n->bytes <= n->requests * send->io_size_bytes);
	CHECK(sum(n->error_counts, ZCLAB_ERRORS) >= n->failed);
	CHECK_EQ(n->stopped, 0);
	if (send->latency)
		CHECK_EQ(sum(n->latency, ZCLAB_LATENCY_BUCKETS), n->notifications);
}

static int slice(struct rig *rig, const struct zclab_send *send,
		 const struct zclab_span *span, struct zclab_counts *n)
{
	int err = zclab_ring_slice(rig->ring, send, span, NULL, n);

	check_counts(n, send);
	return err;
}

/* The descriptor of the only ring that this process has. */
static int only_ring(void)
{
	static const char ring[] = "anon_inode:[io_uring]";
	char path[32], target[sizeof(ring)];
	int fd;

	for (fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof(target)) == sizeof(ring) - 1 &&
		    !memcmp(target, ring, sizeof(ring) - 1))
			return fd;
	}
	return -1;
}

/* ---- sending, all of it arriving ------------------------------------------- */

static void test_every_mode(int protocol, unsigned int iovecs, unsigned int unit_share)
{
	/* UDP: no more than a common socket buffer holds, or some are dropped. */
	struct zclab_span span = {
		.budget_ns = 1000 * MS,
		.requests_max = protocol == SOCK_STREAM ? 200 : 64,
	};
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;

	FOR_EACH_WAY(way) {
		struct zclab_send send;

		send = usual_send;
		open_rig(&rig, protocol, true, send.io_size_bytes / unit_share,
			 &usual_setup);
		send = sends_over(way, &rig);
		send.iovecs = iovecs;
		send.unit_bytes = rig.unit_bytes;
		send.buffers = send.outstanding_max = 32;
		send.lag = 16;
		send.latency = way->is & BY_RING;
		CHECK_EQ(slice(&rig, &send, &span, &n), 0);
		CHECK(n.requests >= span.requests_max);
		CHECK(n.requests < span.requests_max + send.batch);
		CHECK_EQ(n.requests, n.submits * ((way->is & BY_RING) ? send.batch : 1));
		CHECK_EQ(n.bytes, n.requests * send.io_size_bytes);
		CHECK_EQ(n.sent_total, n.requests);
		CHECK_EQ(n.sent_total_bytes, n.bytes);
		CHECK_EQ(n.failed + n.eagain + n.short_sends + n.cq_overflow, 0);
		CHECK(n.started_ns && n.elapsed_ns);
		if (way->is & ZEROCOPY)
			CHECK_EQ(n.zc_requests, n.requests);
		else if (way->mode != ZCLAB_MIXED)
			CHECK_EQ(n.zc_requests, 0);
		CHECK_EQ(n.copied, n.notifications); /* loopback always copies */
		await_bytes(&rig, n.sent_total_bytes);
		end_receiver(&rig);
		CHECK_EQ(rig.tally.bytes, n.sent_total_bytes);
		CHECK_EQ(rig.tally.corrupt + rig.tally.disordered, 0);
		CHECK_EQ(rig.tally.error, 0);
		if (!rig.tcp)
			CHECK_EQ(rig.tally.received, n.sent_total);
		close_rig(&rig);
	}
}

static void test_udp(void)
{
	test_every_mode(SOCK_DGRAM, 1, 1);
}

static void test_udp_pieces(void)
{
	test_every_mode(SOCK_DGRAM, ZCLAB_IOVECS_MAX, 5);
}

static void test_tcp(void)
{
	test_every_mode(SOCK_STREAM, 1, 1);
}

static void test_tcp_pieces(void)
{
	test_every_mode(SOCK_STREAM, 3, 4);
}

/* The warm-up's requests are in the totals and nowhere else. */
static void test_warmup(void)
{
	struct zclab_span span = { .warmup_ns = 2 * MS, .budget_ns = 2 * MS };
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;

	FOR_EACH_WAY(way) {
		struct zclab_send send = sends(way);

		open_rig(&rig, SOCK_DGRAM, false, 0, &usual_setup);
		CHECK_EQ(slice(&rig, &send, &span, &n), 0);
		CHECK(n.requests && n.sent_total > n.requests);
		CHECK(n.elapsed_ns >= span.budget_ns);
		CHECK_EQ(n.sent_total_bytes, n.sent_total * send.io_size_bytes);
		if (way->is & ZEROCOPY)
			CHECK(n.outstanding <= send.outstanding_max);
		/* Another slice of the same ring and socket starts anew. */
		CHECK_EQ(slice(&rig, &send, &span, &n), 0);
		CHECK(n.requests && n.sent_total > n.requests);
		close_rig(&rig);
	}
}

static void test_mixed_weights(void)
{
	struct zclab_span span = { .budget_ns = 5000 * MS, .requests_max = 8000 };
	struct zclab_send send = usual_send;
	struct zclab_counts n, again;
	struct rig rig;

	open_rig(&rig, SOCK_DGRAM, false, 0, &usual_setup);
	send.mode = ZCLAB_MIXED;
	send.weights[ZCLAB_SEND] = 3;
	send.weights[ZCLAB_SEND_ZC] = 1;
	CHECK_EQ(slice(&rig, &send, &span, &n), 0);
	CHECK(n.zc_requests * 100 > n.requests * 22);
	CHECK(n.zc_requests * 100 < n.requests * 28);
	CHECK_EQ(slice(&rig, &send, &span, &again), 0);
	CHECK_EQ(again.zc_requests, n.zc_requests); /* the seed decides */
	send.weights[ZCLAB_SEND] = 0;
	CHECK_EQ(slice(&rig, &send, &span, &n), 0);
	CHECK_EQ(n.zc_requests, n.requests);
	send.weights[ZCLAB_SEND] = ZCLAB_WEIGHTS_MAX - 1;
	CHECK_EQ(slice(&rig, &send, &span, &n), 0);
	CHECK(n.zc_requests * 50 < n.requests);
	close_rig(&rig);
}

static void test_drain_policies(void)
{
	static const int policies[] = {
		ZCLAB_DRAIN_LAG, ZCLAB_DRAIN_BATCH, ZCLAB_DRAIN_EACH,
	};
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;
	size_t k;

	FOR_EACH_WAY(way)
		for (k = 0; k < 3; k++) {
			struct zclab_send send = sends(way);

			open_rig(&rig, SOCK_DGRAM, false, 0, &usual_setup);
			send.drain = policies[k];
			if (policies[k] == ZCLAB_DRAIN_BATCH)
				send.lag = 0;
			CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
			CHECK(n.outstanding <= send.outstanding_max);
			if (policies[k] == ZCLAB_DRAIN_EACH)
				CHECK_EQ(n.outstanding, 0);
			/* No room for a notification between two batches. */
			send.outstanding_max = send.batch;
			CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
			CHECK(n.outstanding <= send.batch);
			close_rig(&rig);
		}
}

/*
 * Requests that differ in nothing but their number have a loop of their own: for some
 * batches on end it counts what the others count, and goes no further than they.
 */
static void test_alike(void)
{
	static const int taskruns[] = { ZCLAB_TASKRUN_COOP, ZCLAB_TASKRUN_DEFER };
	static const unsigned int batches[] = { 1, 8, 40 };
	static const unsigned int lags[] = { 0, 16, ZCLAB_SLOTS };
	static const struct zclab_span span = {
		.budget_ns = 1000 * MS, .requests_max = 320,
	};
	struct zclab_setup setup = usual_setup;
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;
	size_t i, k, m, tight;

	FOR_EACH_WAY(way)
		for (i = 0; (way->is & BY_RING) && i < 2; i++) {
			setup.taskrun = taskruns[i];
			open_rig(&rig, SOCK_DGRAM, false, 0, &setup);
			for (k = 0; k < 3; k++)
				for (m = 0; m < 3; m++)
					for (tight = 0; tight < 2; tight++) {
						struct zclab_send send = sends(way);

						send.batch = batches[k];
						send.lag = lags[m];
						send.clock_interval = 120;
						send.outstanding_max = tight ?
								send.batch : 100;
						CHECK_EQ(slice(&rig, &send, &span, &n), 0);
						CHECK_EQ(n.requests, 320);
						CHECK_EQ(n.bytes, 320 * send.io_size_bytes);
						CHECK_EQ(n.submits, 320 / send.batch);
						CHECK_EQ(n.failed + n.short_sends +
							 n.eagain + n.cq_overflow, 0);
						CHECK(n.outstanding <=
						      send.outstanding_max);
						if (way->is & ZEROCOPY)
							CHECK_EQ(n.zc_requests, 320);
						if (tight && (way->is & ZEROCOPY))
							CHECK_EQ(n.copied, 320);
					}
			close_rig(&rig);
		}
}

/* What does not fit waits in the kernel; nothing hangs and nothing is lost. */
static void test_tiny_completion_queue(void)
{
	static const int taskruns[] = {
		ZCLAB_TASKRUN_DEFAULT, ZCLAB_TASKRUN_COOP, ZCLAB_TASKRUN_DEFER,
	};
	struct zclab_setup setup = usual_setup;
	struct zclab_span span = { .budget_ns = 5000 * MS, .requests_max = 2000 };
	struct zclab_counts n;
	uint64_t overflows[2] = { 0, 0 };
	struct rig rig;
	const struct way *way;
	size_t k;

	setup.sq_entries = setup.cq_entries = 16;
	for (k = 0; k < 6; k++) {
		setup.taskrun = taskruns[k / 2];
		FOR_EACH_WAY(way) {
			struct zclab_send send = sends(way);

			open_rig(&rig, SOCK_DGRAM, false, 0, &setup);
			CHECK_EQ(rig.facts.cq_entries, 16);
			send.batch = 16;
			send.lag = send.outstanding_max = 256;
			send.latency = (way->is & BY_RING) && k % 2;
			CHECK_EQ(slice(&rig, &send, &span, &n), 0);
			CHECK_EQ(n.requests, 2000);
			overflows[k % 2] += n.cq_overflow;
			send.batch = 64;	/* more than a submit can hold */
			CHECK_EQ(slice(&rig, &send, &span, &n),
				 (way->is & BY_RING) ? -EINVAL : 0);
			close_rig(&rig);
		}
	}
	doing = "tiny completion queue";
	CHECK(overflows[0]);
	CHECK(overflows[1]);
}

static void test_ring_setups(void)
{
	struct zclab_setup setup;
	struct zclab_counts n;
	struct rig rig;
	unsigned int i, flags;

	for (i = 0; i < 64; i++) {
		struct zclab_send send = usual_send;

		setup = usual_setup;
		setup.taskrun = (int)(i % 4);
		setup.submit_all = i / 4 % 2;
		setup.registered_ring = i / 8 % 2;
		setup.sqpoll = i / 16 % 2;
		setup.pages = i / 32 % 2 ? ZCLAB_PAGES_THP : ZCLAB_PAGES_NORMAL;
		setup.buffer_bytes = setup.registered_bytes = STRIDE;
		if (setup.sqpoll && setup.taskrun > ZCLAB_TASKRUN_DEFAULT)
			continue;	/* the kernel refuses them together */
		CHECK_EQ(zclab_probe_ring(&setup, &flags), 0);
		open_rig(&rig, SOCK_DGRAM, false, 0, &setup);
		CHECK_EQ(rig.facts.setup_flags, flags);
		CHECK_EQ(rig.facts.sq_entries, setup.sq_entries);
		CHECK_EQ(rig.facts.registered_ring, setup.registered_ring);
		CHECK(rig.facts.buffer_bytes >= setup.buffer_bytes);
		send.registered_file = (int)(i % 2);
		send.mode = ZCLAB_SEND_ZC_FIXED;
		CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
		CHECK_EQ(n.zc_requests, n.requests);
		close_rig(&rig);
	}
}

/* A ring is entered and closed by its own descriptor, whatever liburing leaves to it. */
static void test_ring_descriptor(void)
{
	struct zclab_setup setup = usual_setup;
	struct zclab_counts n;
	struct rig rig;
	unsigned int before, flags;
	int zero = fcntl(0, F_GETFD), registered;

	for (registered = 0; registered < 2; registered++) {
		setup.registered_ring = registered;
		before = count_fds();
		CHECK_EQ(zclab_probe_ring(&setup, &flags), 0);
		CHECK_EQ(count_fds(), before);
		open_rig(&rig, SOCK_DGRAM, false, 0, &setup);
		CHECK_EQ(count_fds(), before + 3);	/* the ring and its two sockets */
		CHECK(only_ring() > 0);
		CHECK_EQ(rig.facts.registered_ring, registered);
		CHECK_EQ(slice(&rig, &usual_send, &usual_span, &n), 0);
		close_rig(&rig);
		CHECK_EQ(only_ring(), -1);
		CHECK_EQ(count_fds(), before);
		CHECK_EQ(fcntl(0, F_GETFD), zero);
	}
}

/* What one slice wrote into the entries of the queue is not the next one's. */
static void test_slices_share_no_flags(void)
{
	static const unsigned int batches[] = { 1, 8 };
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;
	int k, registered;

	open_rig(&rig, SOCK_DGRAM, false, 0, &usual_setup);
	FOR_EACH_WAY(way)
		for (k = 0; k < 2; k++)
			for (registered = 1; registered >= 0; registered--) {
				struct zclab_send send = sends(way);

				send.batch = batches[k];
				send.registered_file = registered;
				send.report_usage = registered;
				CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
				CHECK_EQ(n.requests, usual_span.requests_max);
				if ((way->is & BY_RING) && !registered)
					CHECK_EQ(n.copied, 0);	/* not asked for */
			}
	close_rig(&rig);
}

static void *spin(void *given)
{
	uint64_t *stop = given;

	while (!__atomic_load_n(stop, __ATOMIC_RELAXED))
		;
	return NULL;
}

/*
 * A batch that fills the queue: its thread posts completions before it gives the
 * entries back, and may be interrupted in between where there is much to do.
 */
static void test_sqpoll_with_full_queue(void)
{
	struct zclab_setup setup = usual_setup;
	struct zclab_span span = { .budget_ns = 250 * MS };
	struct zclab_counts n;
	pthread_t threads[3];
	uint64_t stop = 0;
	struct rig rig;
	unsigned int i;

	for (i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, spin, &stop), 0);
	setup.sqpoll = 1;
	for (setup.sq_entries = 1; setup.sq_entries <= 8; setup.sq_entries *= 8) {
		struct zclab_send send = usual_send;

		open_rig(&rig, SOCK_DGRAM, false, 0, &setup);
		send.batch = setup.sq_entries;
		CHECK_EQ(slice(&rig, &send, &span, &n), 0);
		CHECK_EQ(n.requests % send.batch, 0);
		send.mode = ZCLAB_SEND_ZC;
		send.lag = ZCLAB_SLOTS;
		CHECK_EQ(slice(&rig, &send, &span, &n), 0);
		CHECK_EQ(n.requests % send.batch, 0);
		close_rig(&rig);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

/* With a socket for each request of a batch none has two in flight, or it might send
 * the second one first. */
static void test_sqpoll_reorders_no_stream(void)
{
	enum { FLOWS = 4 };
	struct zclab_setup setup = usual_setup;
	struct zclab_send send = usual_send;
	struct zclab_span span = { .budget_ns = 100 * MS };
	struct zclab_ring_facts facts;
	struct zclab_ring *ring;
	struct zclab_counts n;
	struct rig rigs[FLOWS];
	int fds[FLOWS];
	unsigned int i;

	memset(rigs, 0, sizeof(rigs));
	for (i = 0; i < FLOWS; i++) {
		rigs[i].pair = open_tcp(AF_INET);
		rigs[i].unit_bytes = 4096;
		rigs[i].receives = true;
		fds[i] = rigs[i].pair.sending;
		set_number(fds[i], SOL_SOCKET, SO_SNDBUF, 8192);
		CHECK_EQ(pthread_create(&rigs[i].thread, NULL, receive, &rigs[i]), 0);
	}
	setup.sqpoll = 1;
	setup.buffer_bytes = setup.registered_bytes = 64 << 16;
	must(zclab_ring_open(&setup, fds, FLOWS, &ring, &facts), "a ring");
	for (send.flows = FLOWS / 2; send.flows <= FLOWS; send.flows *= 2) {
		send.batch = FLOWS / 2;	/* all sockets at a time, or every other time */
		send.io_size_bytes = send.buffer_stride = 1 << 16;
		send.buffers = send.outstanding_max = 64;
		send.unit_bytes = 4096;
		CHECK_EQ(zclab_ring_slice(ring, &send, &span, NULL, &n), 0);
		CHECK(n.requests);
	}
	zclab_ring_close(ring);
	for (i = 0; i < FLOWS; i++) {
		shutdown(fds[i], SHUT_WR);
		while (!__atomic_load_n(&rigs[i].tally.closed, __ATOMIC_RELAXED) &&
		       !__atomic_load_n(&rigs[i].tally.error, __ATOMIC_RELAXED))
			pause_ns(MS);
		end_receiver(&rigs[i]);
		CHECK_EQ(rigs[i].tally.corrupt, 0);
		close_pair(&rigs[i].pair);
	}
}

/* Small socket buffers: requests wait, none is lost. */
static void test_tiny_socket_buffer(void)
{
	struct zclab_span span = { .budget_ns = 20 * MS };
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;
	int tcp;

	for (tcp = 0; tcp < 2; tcp++)
		FOR_EACH_WAY(way) {
			struct zclab_send send;

			open_rig(&rig, tcp ? SOCK_STREAM : SOCK_DGRAM, true, 0,
				 &usual_setup);
			set_number(rig.pair.sending, SOL_SOCKET, SO_SNDBUF, 1);
			send = sends_over(way, &rig);
			CHECK_EQ(slice(&rig, &send, &span, &n), 0);
			CHECK(n.requests);
			CHECK_EQ(n.failed, 0);
			if (tcp) {
				await_bytes(&rig, n.sent_total_bytes);
				CHECK_EQ(received_bytes(&rig), n.sent_total_bytes);
			}
			close_rig(&rig);
		}
}

/* A stream whose socket takes a part of a request only still holds whole units. */
static void test_short_sends_leave_units_whole(void)
{
	struct zclab_setup setup = usual_setup;
	struct zclab_span span = { .budget_ns = 20 * MS };
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;

	setup.buffer_bytes = setup.registered_bytes = 8 << 16;
	FOR_EACH_WAY(way) {
		struct zclab_send send;

		open_rig(&rig, SOCK_STREAM, true, 4096, &setup);
		set_number(rig.pair.sending, SOL_SOCKET, SO_SNDBUF, 1 << 14);
		send = sends_over(way, &rig);
		send.io_size_bytes = send.buffer_stride = 1 << 16;
		send.buffers = send.outstanding_max = 8;
		send.unit_bytes = rig.unit_bytes;
		CHECK_EQ(slice(&rig, &send, &span, &n), 0);
		CHECK(n.requests);
		await_bytes(&rig, n.sent_total_bytes);
		end_receiver(&rig);
		CHECK_EQ(rig.tally.bytes, n.sent_total_bytes);
		CHECK_EQ(rig.tally.corrupt, 0);
		close_rig(&rig);
	}
}

/* Sockets in turn, buffers in turn, addresses, IPv6, corks, MSG_MORE, MSG_EOR. */
static void test_flows(void)
{
	struct zclab_ring_facts facts;
	struct zclab_counts n;
	struct zclab_ring *ring;
	struct pair pairs[3];
	int fds[3];
	const struct way *way;
	size_t k;

	FOR_EACH_WAY(way) {
		struct zclab_send send = sends(way);
		char byte;

		for (k = 0; k < 3; k++) {
			pairs[k] = open_udp(k == 2 ? AF_INET6 : AF_INET);
			fds[k] = pairs[k].sending;
		}
		CHECK_EQ(zclab_ring_open(&usual_setup, fds, 3, &ring, &facts), 0);
		send.file = 1;
		send.flows = 2;
		send.buffers = 7;
		send.buffer_offset = 13;
		send.registered_file = 0;
		CHECK_EQ(zclab_ring_slice(ring, &send, &usual_span, NULL, &n), 0);
		check_counts(&n, &send);
		CHECK_EQ(n.requests, usual_span.requests_max);
		for (k = 0; k < 3; k++) {
			uint64_t got = 0;

			while (recv(pairs[k].receiving, &byte, 1, MSG_DONTWAIT) > 0)
				got++;
			CHECK_EQ(got, k ? n.requests / 2 : 0);
			close_pair(&pairs[k]);
		}
		zclab_ring_close(ring);
	}
}

static void test_addressed(void)
{
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;

	FOR_EACH_WAY(way) {
		struct zclab_send send = sends(way);

		open_rig(&rig, SOCK_DGRAM, true, 0, &usual_setup);
		must(connect(rig.pair.sending,
			     &(struct sockaddr){ .sa_family = AF_UNSPEC },
			     sizeof(struct sockaddr)), "disconnect");
		send.on_error = ZCLAB_ON_ERROR_COUNT;
		CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
		CHECK_EQ(n.requests, 0);
		CHECK_EQ(n.errors[0], EDESTADDRREQ);
		send.address_bytes = rig.pair.place.length;
		memcpy(send.address, &rig.pair.place.at, rig.pair.place.length);
		CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
		CHECK_EQ(n.failed, 0);
		await_bytes(&rig, n.sent_total_bytes);
		CHECK_EQ(received_bytes(&rig), n.sent_total_bytes);
		close_rig(&rig);
	}
}

static void test_gathered(void)
{
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;
	int tcp;

	for (tcp = 0; tcp < 2; tcp++)
		FOR_EACH_WAY(way) {
			struct zclab_send send;

			open_rig(&rig, tcp ? SOCK_STREAM : SOCK_DGRAM, true, 0,
				 &usual_setup);
			send = sends_over(way, &rig);
			send.eor = tcp;
			send.cork_level = tcp ? IPPROTO_TCP : IPPROTO_UDP;
			send.cork_option = tcp ? TCP_CORK : UDP_CORK;
			send.cork = 1;
			CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
			CHECK_EQ(n.failed + n.short_sends, 0);
			await_bytes(&rig, n.sent_total_bytes);
			CHECK_EQ(received_bytes(&rig), n.sent_total_bytes);
			if (!tcp)
				CHECK_EQ(rig.tally.received,
					 (n.requests + send.batch - 1) / send.batch);
			send.cork = 0;
			send.more = 4;
			CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
			CHECK_EQ(n.failed + n.short_sends, 0);
			close_rig(&rig);
		}
}

static int corked(const struct rig *rig)
{
	socklen_t length = sizeof(int);
	int on = -1;

	must(getsockopt(rig->pair.sending, IPPROTO_UDP, UDP_CORK, &on, &length),
	     "UDP_CORK");
	return on;
}

struct stranger {
	struct rig *rig;
	struct zclab_send send;
	struct zclab_counts n;
	int err;
};

static void *send_as_stranger(void *given)
{
	struct stranger *stranger = given;

	stranger->err = zclab_ring_slice(stranger->rig->ring, &stranger->send, &usual_span,
					 NULL, &stranger->n);
	return NULL;
}

/* A ring for one thread takes nothing from another: the cork is not left in for it. */
static void test_failed_submit_clears_the_cork(void)
{
	struct zclab_setup setup = usual_setup;
	struct stranger stranger = { .send = usual_send };
	struct rig rig;
	pthread_t thread;

	setup.taskrun = ZCLAB_TASKRUN_COOP;
	open_rig(&rig, SOCK_DGRAM, false, 0, &setup);
	stranger.rig = &rig;
	stranger.send.cork = 1;
	stranger.send.cork_level = IPPROTO_UDP;
	stranger.send.cork_option = UDP_CORK;
	CHECK_EQ(pthread_create(&thread, NULL, send_as_stranger, &stranger), 0);
	pthread_join(thread, NULL);
	CHECK(stranger.err < 0);
	CHECK_EQ(stranger.n.requests, 0);
	CHECK_EQ(corked(&rig), 0);
	close_rig(&rig);
}

/* ---- notifications that are late -------------------------------------------- */

/* Fills a stream whose other end does not read, until what is sent has to wait here:
 * nothing that follows is acknowledged, or notified. Returns what was sent. */
static size_t dam_up(const struct pair *pair)
{
	static const char bytes[1 << 16];
	size_t sent = 0;
	int waits = 0;

	while (!waits) {
		sent += (size_t)must((int)send(pair->sending, bytes, sizeof(bytes), 0),
				     "send");
		must(ioctl(pair->sending, SIOCOUTQNSD, &waits), "SIOCOUTQNSD");
	}
	return sent;
}

struct dam {
	struct rig *rig;
	size_t bytes;		/* behind it, not those of the slice */
	const unsigned int *opens; /* when this is above `after` */
	unsigned int after;
};

static void *open_dam(void *given)
{
	static char bytes[1 << 16];
	struct dam *dam = given;
	uint64_t end = now_ns() + 1000 * MS;

	while (__atomic_load_n(dam->opens, __ATOMIC_RELAXED) <= dam->after &&
	       now_ns() < end)
		pause_ns(MS);
	while (dam->bytes)
		dam->bytes -= (size_t)must(
			(int)recv(dam->rig->pair.receiving, bytes,
				  dam->bytes < sizeof(bytes) ? dam->bytes : sizeof(bytes),
				  0), "recv");
	return receive(dam->rig);
}

/* Of the error queue, by the sending thread: made to be counted by the Makefile. */
static unsigned int looks;

ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	__atomic_add_fetch(&looks, !!(flags & MSG_ERRQUEUE), __ATOMIC_RELAXED);
	return __real_recvmsg(fd, message, flags);
}

/* Looks are `lag` sends apart, where they find nothing too. */
static void test_looks_are_lag_sends_apart(void)
{
	enum { SENDS = 300, LAG = 10, ENOUGH = SENDS / LAG };
	static const struct zclab_span span = {
		.budget_ns = 4000 * MS, .requests_max = SENDS,
	};
	struct zclab_send send = usual_send;
	struct zclab_counts n;
	struct rig rig;
	struct dam dam = { .rig = &rig, .opens = &looks, .after = ENOUGH };

	open_rig(&rig, SOCK_STREAM, false, 0, &usual_setup);
	set_buffer(rig.pair.sending, SO_SNDBUFFORCE, SO_SNDBUF, SOCKET_BYTES);
	dam.bytes = dam_up(&rig.pair);
	rig.receives = true;
	looks = 0;
	CHECK_EQ(pthread_create(&rig.thread, NULL, open_dam, &dam), 0);
	send.mode = ZCLAB_MSG_ZEROCOPY;
	send.io_size_bytes = 100;
	send.lag = LAG;
	send.outstanding_max = ZCLAB_SLOTS;
	CHECK_EQ(slice(&rig, &send, &span, &n), 0);
	CHECK_EQ(n.requests, SENDS);
	CHECK_EQ(n.outstanding, SENDS);	/* all were sent before any was notified */
	CHECK(looks >= ENOUGH);
	CHECK(looks < SENDS / 2);	/* those of the wait for the last ones included */
	close_rig(&rig);
}

/* Looks are at every socket: none has more outstanding than were sent since. */
static void test_looks_are_at_all_sockets(void)
{
	struct zclab_send send = usual_send;
	struct zclab_ring_facts facts;
	struct zclab_counts n;
	struct zclab_ring *ring;
	struct pair pairs[2] = { open_udp(AF_INET), open_udp(AF_INET) };
	int fds[2] = { pairs[0].sending, pairs[1].sending };

	must(zclab_ring_open(&usual_setup, fds, 2, &ring, &facts), "a ring");
	send.mode = ZCLAB_MSG_ZEROCOPY;
	send.flows = 2;
	send.lag = 16;
	send.outstanding_max = ZCLAB_SLOTS;
	CHECK_EQ(zclab_ring_slice(ring, &send, &usual_span, NULL, &n), 0);
	check_counts(&n, &send);
	CHECK(n.outstanding < send.lag);
	zclab_ring_close(ring);
	close_pair(&pairs[0]);
	close_pair(&pairs[1]);
}

/*
 * One stream's notifications are late, another's are not: buffers of the first are
 * still read when, counted by all, there would be room to stamp them anew.
 */
static void test_late_buffers_are_not_stamped(void)
{
	enum { UNIT = 512, BUFFERS = 16 };
	static const struct zclab_span span = {
		.budget_ns = 4000 * MS, .requests_max = 3 * BUFFERS,
	};
	struct zclab_send send = usual_send;
	struct zclab_ring_facts facts;
	struct zclab_counts n;
	struct zclab_ring *ring;
	struct rig rigs[2];
	static const unsigned int at_once = 1;
	struct dam dam = { .rig = &rigs[0], .opens = &looks, .after = BUFFERS };
	struct dam none = { .rig = &rigs[1], .opens = &at_once };
	int i, fds[2];

	memset(rigs, 0, sizeof(rigs));
	for (i = 0; i < 2; i++) {
		rigs[i].pair = open_tcp(AF_INET);
		rigs[i].unit_bytes = UNIT;
		rigs[i].receives = true;
		fds[i] = rigs[i].pair.sending;
	}
	set_buffer(fds[0], SO_SNDBUFFORCE, SO_SNDBUF, SOCKET_BYTES);
	dam.bytes = dam_up(&rigs[0].pair);
	must(zclab_ring_open(&usual_setup, fds, 2, &ring, &facts), "a ring");
	looks = 0;
	CHECK_EQ(pthread_create(&rigs[0].thread, NULL, open_dam, &dam), 0);
	CHECK_EQ(pthread_create(&rigs[1].thread, NULL, open_dam, &none), 0);
	send.mode = ZCLAB_MSG_ZEROCOPY;
	send.flows = 2;
	send.io_size_bytes = send.unit_bytes = UNIT;
	send.buffers = send.outstanding_max = BUFFERS;
	send.lag = 1;
	CHECK_EQ(zclab_ring_slice(ring, &send, &span, NULL, &n), 0);
	check_counts(&n, &send);
	CHECK_EQ(n.requests, span.requests_max);
	for (i = 0; i < 2; i++) {
		await_bytes(&rigs[i], n.sent_total_bytes / 2);
		end_receiver(&rigs[i]);
		CHECK_EQ(rigs[i].tally.bytes, n.sent_total_bytes / 2);
		CHECK_EQ(rigs[i].tally.corrupt, 0);
		close_pair(&rigs[i].pair);
	}
	zclab_ring_close(ring);
}

/* ---- receiving what was not sent ------------------------------------------- */

static void lay_unit(unsigned char *at, uint64_t number, unsigned int bytes)
{
	unsigned int i;

	for (i = 0; i < bytes; i++)
		at[i] = i < 8 ? (unsigned char)(number >> (8 * i)) :
				(unsigned char)(number + i);
}

/* Six units, sent as two datagrams or in odd pieces of a stream. */
static void test_corruption_is_found(void)
{
	enum { UNIT = 100, UNITS = 6, ALL = UNIT * UNITS };
	static const struct {
		uint64_t numbers[UNITS];
		unsigned int flipped;	/* byte that is turned over; ALL: none */
		uint64_t corrupt[2], disordered[2];	/* UDP, TCP */
	} cases[] = {
		{ { 0, 1, 2, 3, 4, 5 }, ALL, { 0, 0 }, { 0, 0 } },
		{ { 0, 1, 2, 3, 4, 5 }, 99, { 1, 1 }, { 0, 0 } },
		{ { 0, 1, 2, 3, 4, 5 }, 108, { 1, 1 }, { 0, 0 } },
		{ { 0, 2, 1, 3, 4, 5 }, ALL, { 0, 2 }, { 1, 0 } },
		{ { 0, 1, 1, 2, 3, 4 }, ALL, { 0, 4 }, { 1, 0 } },
		{ { 0, 1, 300, 301, 302, 303 }, ALL, { 0, 4 }, { 0, 0 } },
	};
	size_t i, k;
	int tcp;

	for (tcp = 0; tcp < 2; tcp++)
		for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			unsigned char bytes[ALL];
			struct rig rig;

			open_rig(&rig, tcp ? SOCK_STREAM : SOCK_DGRAM, true, UNIT,
				 &usual_setup);
			for (k = 0; k < UNITS; k++)
				lay_unit(bytes + k * UNIT, cases[i].numbers[k], UNIT);
			if (cases[i].flipped < ALL)
				bytes[cases[i].flipped] ^= 0x10;
			for (k = 0; k < ALL; k += tcp ? 75 : ALL / 2)
				must((int)send(rig.pair.sending, bytes + k,
					       tcp ? 75 : ALL / 2, 0), "send");
			await_bytes(&rig, ALL);
			end_receiver(&rig);
			CHECK_EQ(rig.tally.bytes, ALL);
			CHECK_EQ(rig.tally.corrupt, cases[i].corrupt[tcp]);
			CHECK_EQ(rig.tally.disordered, cases[i].disordered[tcp]);
			close_rig(&rig);
		}
}

/* A datagram that ends inside a unit was not sent so. */
static void test_torn_datagram_is_found(void)
{
	unsigned char bytes[150];
	struct rig rig;

	open_rig(&rig, SOCK_DGRAM, true, 100, &usual_setup);
	lay_unit(bytes, 0, 100);
	lay_unit(bytes + 100, 1, 50);
	must((int)send(rig.pair.sending, bytes, sizeof(bytes), 0), "send");
	must((int)send(rig.pair.sending, bytes, 0, 0), "send");
	await_bytes(&rig, sizeof(bytes));
	end_receiver(&rig);
	CHECK_EQ(rig.tally.corrupt, 1);
	close_rig(&rig);
}

static void test_listening_receiver(void)
{
	enum { COMERS = 20 };
	struct place place;
	struct zclab_inbox inbox = { 0 };
	struct zclab_tally tally = { 0 };
	unsigned char bytes[64];
	struct rig rig = { .unit_bytes = 64, .receives = true };
	uint64_t end = now_ns() + 3000 * MS;
	int i, fds[COMERS];

	rig.inbox = inbox;
	rig.tally = tally;
	rig.pair.receiving = open_bound(AF_INET, SOCK_STREAM, &place);
	must(listen(rig.pair.receiving, COMERS), "listen");
	CHECK_EQ(pthread_create(&rig.thread, NULL, receive, &rig), 0);
	lay_unit(bytes, 0, sizeof(bytes));
	for (i = 0; i < COMERS; i++) {
		fds[i] = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		must(connect(fds[i], (struct sockaddr *)&place.at, place.length),
		     "connect");
		must((int)send(fds[i], bytes, sizeof(bytes), 0), "send");
		if (i % 2)	/* the others are still open when the receiver ends */
			close(fds[i]);
	}
	while (__atomic_load_n(&rig.tally.closed, __ATOMIC_RELAXED) < COMERS / 2 &&
	       now_ns() < end)
		pause_ns(MS);
	await_bytes(&rig, COMERS * sizeof(bytes));
	end_receiver(&rig);
	CHECK_EQ(rig.tally.accepted, COMERS);
	CHECK_EQ(rig.tally.closed, COMERS / 2);
	CHECK_EQ(rig.tally.bytes, COMERS * sizeof(bytes));
	CHECK_EQ(rig.tally.corrupt + rig.tally.error, 0);
	for (i = 0; i < COMERS; i += 2)
		close(fds[i]);
	close(rig.pair.receiving);
}

/* One socket that never runs dry keeps the receiver from neither others nor stop. */
#define FLOOD_BYTES 30000

struct flood {
	int fd;
	uint64_t stop;
};

static void *flood(void *given)
{
	static const char bytes[FLOOD_BYTES];
	struct flood *f = given;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED))
		if (send(f->fd, bytes, sizeof(bytes), MSG_DONTWAIT) < 0 &&
		    errno != EAGAIN)
			break;
	return NULL;
}

struct several {
	int fds[2];
	unsigned int units[2];
	struct zclab_inbox inbox;
	struct zclab_tally tallies[2];
	int result;
};

static void *receive_several(void *given)
{
	struct several *s = given;

	s->result = zclab_receive(s->fds, s->units, 2, &s->inbox, s->tallies);
	return NULL;
}

static void test_receiver_under_flood(void)
{
	struct pair busy = open_udp(AF_INET), quiet = open_udp(AF_INET);
	/* Verified, so slower to take than to send. */
	struct several s = { .fds = { busy.receiving, quiet.receiving },
			     .units = { FLOOD_BYTES, 0 } };
	struct flood floods[3] = { { busy.sending, 0 }, { busy.sending, 0 },
				   { busy.sending, 0 } };
	pthread_t receiver, senders[3];
	uint64_t begun, end;
	int i;

	for (i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&senders[i], NULL, flood, &floods[i]), 0);
	pause_ns(20 * MS);
	CHECK_EQ(pthread_create(&receiver, NULL, receive_several, &s), 0);
	pause_ns(20 * MS);
	must((int)send(quiet.sending, "x", 1, 0), "send");
	end = now_ns() + ANSWER_NS;
	while (!__atomic_load_n(&s.tallies[1].received, __ATOMIC_ACQUIRE) &&
	       now_ns() < end)
		pause_ns(MS);
	CHECK_EQ(__atomic_load_n(&s.tallies[1].received, __ATOMIC_ACQUIRE), 1);
	begun = now_ns();
	__atomic_store_n(&s.inbox.stop, 1, __ATOMIC_RELEASE);
	while (now_ns() < begun + ANSWER_NS && pthread_tryjoin_np(receiver, NULL))
		pause_ns(MS);
	CHECK(now_ns() < begun + ANSWER_NS);
	for (i = 0; i < 3; i++) {
		__atomic_store_n(&floods[i].stop, 1, __ATOMIC_RELAXED);
		pthread_join(senders[i], NULL);
	}
	if (now_ns() >= begun + ANSWER_NS)
		pthread_join(receiver, NULL);
	CHECK_EQ(s.result, 0);
	close_pair(&busy);
	close_pair(&quiet);
}

/*
 * When it begins to wait it has told all that it took: what there was to take lies in
 * one stint that is shorter than a tick.
 */
static void test_receiver_tells_its_usage(void)
{
	enum { DATAGRAMS = 60 };
	static const char bytes[FLOOD_BYTES];
	uint64_t turns, end;
	struct timespec ran;
	struct rig rig;
	clockid_t clock;
	int i, k;

	for (k = 0; k < 10; k++) {
		memset(&rig, 0, sizeof(rig));
		rig.pair = open_udp(AF_INET);
		for (i = 0; i < DATAGRAMS; i++)
			must((int)send(rig.pair.sending, bytes, sizeof(bytes), 0), "send");
		rig.receives = true;
		CHECK_EQ(pthread_create(&rig.thread, NULL, receive, &rig), 0);
		await_bytes(&rig, DATAGRAMS * sizeof(bytes));
		end = now_ns() + ANSWER_NS;
		do
			turns = __atomic_load_n(&rig.inbox.turns, __ATOMIC_ACQUIRE);
		while (turns % 2 == 0 && now_ns() < end);
		CHECK_EQ(turns % 2, 1);
		CHECK_EQ(pthread_getcpuclockid(rig.thread, &clock), 0);
		must(clock_gettime(clock, &ran), "clock_gettime");
		CHECK((rig.inbox.cpu_user_ns + rig.inbox.cpu_sys_ns) * 2 >
		      (uint64_t)ran.tv_sec * 1000000000u + (uint64_t)ran.tv_nsec);
		end_receiver(&rig);
		close_pair(&rig.pair);
	}
}

static void test_receiver_refuses(void)
{
	struct zclab_inbox inbox = { 0 };
	struct zclab_tally tally = { 0 };
	unsigned int unit = 0;
	int fds[2], bad = -1;

	CHECK_EQ(zclab_receive(&bad, &unit, 1, &inbox, &tally), -EBADF);
	must(pipe(fds), "pipe");
	CHECK_EQ(zclab_receive(fds, &unit, 1, &inbox, &tally), -ENOTSOCK);
	close(fds[0]);
	close(fds[1]);
}

/* ---- failing ---------------------------------------------------------------- */

static void test_refused_connection(void)
{
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;

	FOR_EACH_WAY(way) {
		struct zclab_send send = sends(way);

		open_rig(&rig, SOCK_DGRAM, false, 0, &usual_setup);
		close(rig.pair.receiving);
		rig.pair.receiving = -1;
		CHECK_EQ(slice(&rig, &send, &usual_span, &n), -ECONNREFUSED);
		CHECK(n.failed);
		CHECK_EQ(n.errors[0], ECONNREFUSED);
		send.on_error = ZCLAB_ON_ERROR_COUNT;
		CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
		CHECK(n.requests && n.failed);
		CHECK_EQ(n.requests + n.failed + n.eagain, 200);
		CHECK_EQ(n.error_counts[0], n.failed);
		CHECK_EQ(n.errors[0], ECONNREFUSED);
		CHECK_EQ(n.errors[1], 0);
		close_rig(&rig);
	}
}

/* The warm-up's errors are told as well; its requests are in no timed count. */
static void errors_of_a_warmup(const struct way *way, const struct zclab_setup *setup)
{
	struct zclab_span span = { .warmup_ns = 5 * MS };
	struct zclab_send send = sends(way);
	struct zclab_counts n;
	struct rig rig;

	open_rig(&rig, SOCK_DGRAM, false, 0, setup);
	close(rig.pair.receiving);
	rig.pair.receiving = -1;
	send.on_error = ZCLAB_ON_ERROR_COUNT;
	CHECK_EQ(slice(&rig, &send, &span, &n), 0);
	CHECK(n.sent_total);
	CHECK_EQ(n.requests + n.failed + n.notifications, 0);
	CHECK_EQ(n.errors[0], ECONNREFUSED);
	CHECK(n.error_counts[0]);
	send.on_error = ZCLAB_ON_ERROR_STOP;
	CHECK_EQ(slice(&rig, &send, &span, &n), -ECONNREFUSED);
	CHECK_EQ(n.requests + n.bytes + n.failed + n.notifications, 0);
	CHECK_EQ(n.errors[0], ECONNREFUSED);
	close_rig(&rig);
}

static void test_errors_of_the_warmup(void)
{
	struct zclab_setup setup = usual_setup;
	const struct way *way;

	FOR_EACH_WAY(way) {
		setup.sqpoll = 0;
		errors_of_a_warmup(way, &setup);
		setup.sqpoll = 1;	/* it has a batch in flight when one fails */
		if (way->is & BY_RING)
			errors_of_a_warmup(way, &setup);
	}
}

struct leaver {
	int fd;
	uint64_t stop;		/* set some time after it closed */
};

static void *close_soon(void *given)
{
	struct leaver *leaver = given;
	char bytes[4096];
	uint64_t end = 0;

	while (recv(leaver->fd, bytes, sizeof(bytes), 0) > 0) {
		if (!end)
			end = now_ns() + 5 * MS;
		if (now_ns() > end)
			break;
	}
	close(leaver->fd);
	pause_ns(20 * MS);
	__atomic_store_n(&leaver->stop, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void test_receiver_closes(void)
{
	struct zclab_span span = { .budget_ns = 5000 * MS };
	struct zclab_counts n;
	pthread_t thread;
	struct rig rig;
	const struct way *way;
	int err, on_error;

	for (on_error = 0; on_error < 2; on_error++)
		FOR_EACH_WAY(way) {
			struct leaver leaver = { 0 };
			struct zclab_send send;

			open_rig(&rig, SOCK_STREAM, false, 0, &usual_setup);
			leaver.fd = rig.pair.receiving;
			CHECK_EQ(pthread_create(&thread, NULL, close_soon, &leaver), 0);
			send = sends_over(way, &rig);
			send.on_error = on_error;
			err = zclab_ring_slice(rig.ring, &send, &span, &leaver.stop,
					       &n);
			if (on_error == ZCLAB_ON_ERROR_STOP)
				CHECK(err == -ECONNRESET || err == -EPIPE);
			else
				CHECK_EQ(err, 0);
			CHECK_EQ(n.notifications, n.zc_requests);
			CHECK(n.requests && n.failed);
			CHECK(n.errors[0] == ECONNRESET || n.errors[0] == EPIPE);
			pthread_join(thread, NULL);
			rig.pair.receiving = -1;
			/* All is awaited, so the ring takes another slice. */
			CHECK(slice(&rig, &send, &usual_span, &n) != -EINVAL);
			close_rig(&rig);
		}
}

static void test_wrong_sockets(void)
{
	struct zclab_send send = usual_send;
	struct zclab_ring_facts facts;
	struct zclab_counts n;
	struct zclab_ring *ring;
	const struct way *way;
	int fds[2], bad = 1 << 20;

	CHECK_EQ(zclab_ring_open(&usual_setup, &bad, 1, &ring, &facts), -EBADF);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), "socketpair");
	CHECK_EQ(zclab_ring_open(&usual_setup, fds, 1, &ring, &facts), 0);
	send.mode = ZCLAB_SEND_ZC;
	CHECK_EQ(zclab_ring_slice(ring, &send, &usual_span, NULL, &n), -EOPNOTSUPP);
	zclab_ring_close(ring);
	close(fds[0]);
	close(fds[1]);
	must(pipe(fds), "pipe");
	FOR_EACH_WAY(way) {
		CHECK_EQ(zclab_ring_open(&usual_setup, &fds[1], 1, &ring, &facts), 0);
		send = sends(way);
		CHECK_EQ(zclab_ring_slice(ring, &send, &usual_span, NULL, &n),
			 -ENOTSOCK);
		zclab_ring_close(ring);
	}
	close(fds[0]);
	close(fds[1]);
}

/* Signals interrupt every wait, and end none. */
static const struct itimerval often = { { 0, 300 }, { 0, 300 } };
static const struct itimerval never;

static void test_signals(void)
{
	struct zclab_span span = { .warmup_ns = MS, .budget_ns = 5 * MS };
	struct zclab_counts n;
	struct rig rig;
	uint64_t start;
	const struct way *way;
	int tcp;

	for (tcp = 0; tcp < 2; tcp++)
		FOR_EACH_WAY(way) {
			struct zclab_send send;

			open_rig(&rig, tcp ? SOCK_STREAM : SOCK_DGRAM, true, 0,
				 &usual_setup);
			send = sends_over(way, &rig);
			setitimer(ITIMER_REAL, &often, NULL);
			start = span.start_at_ns = now_ns() + 5 * MS;
			CHECK_EQ(slice(&rig, &send, &span, &n), 0);
			setitimer(ITIMER_REAL, &never, NULL);
			CHECK(n.requests);
			CHECK(n.started_ns >= start + span.warmup_ns);
			close_rig(&rig);
		}
}

/* Neither does a wait seem longer than it is: it is not taken for stuck. */
static void *read_late(void *given)
{
	struct rig *rig = given;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	pause_ns(130 * MS);
	return receive(rig);
}

static void test_signals_while_waiting(void)
{
	struct zclab_span span = { .budget_ns = 50 * MS };
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;

	FOR_EACH_WAY(way) {
		struct zclab_send send = sends(way);

		if (!(way->is & OWN_WAIT))
			continue;
		open_rig(&rig, SOCK_STREAM, false, 0, &usual_setup);
		send.io_size_bytes = 1 << 16;
		rig.receives = true;
		CHECK_EQ(pthread_create(&rig.thread, NULL, read_late, &rig), 0);
		setitimer(ITIMER_REAL, &often, NULL);
		CHECK_EQ(slice(&rig, &send, &span, &n), 0);
		setitimer(ITIMER_REAL, &never, NULL);
		await_bytes(&rig, n.sent_total_bytes);
		CHECK_EQ(received_bytes(&rig), n.sent_total_bytes);
		close_rig(&rig);
	}
}

/* In a child, as a limit that was lowered cannot be raised again by everybody. */
static void in_child(void (*what)(void))
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = must(fork(), "fork");
	if (!child) {
		failed_checks = 0;
		what();
		exit(failed_checks != 0);	/* so that leaks are looked for */
	}
	waitpid(child, &status, 0);
	CHECK_EQ(status, 0);
}

/* ---- stopping ---------------------------------------------------------------- */

struct alarm {
	uint64_t word;
	uint64_t after_ns;
	uint64_t rung_ns;
};

static void *ring_alarm(void *given)
{
	struct alarm *alarm = given;

	pause_ns(alarm->after_ns);
	alarm->rung_ns = now_ns();
	__atomic_store_n(&alarm->word, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Sends until the alarm rings; it must not take long after that. */
static int stopped_slice(struct rig *rig, const struct zclab_send *send,
			 uint64_t start_at_ns, struct zclab_counts *n)
{
	struct zclab_span span = { .start_at_ns = start_at_ns,
				   .budget_ns = 60000 * MS };
	struct alarm alarm = { .after_ns = 10 * MS };
	pthread_t thread;
	int err;

	CHECK_EQ(pthread_create(&thread, NULL, ring_alarm, &alarm), 0);
	err = zclab_ring_slice(rig->ring, send, &span, &alarm.word, n);
	pthread_join(thread, NULL);
	CHECK(now_ns() >= alarm.rung_ns);
	CHECK(now_ns() < alarm.rung_ns + ANSWER_NS);
	CHECK_EQ(n->stopped, 1);
	CHECK_EQ(n->breach, ZCLAB_BREACH_NONE);
	return err;
}

static void test_stop(void)
{
	static const uint64_t set = 1;
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;
	int tcp;

	for (tcp = 0; tcp < 2; tcp++)
		FOR_EACH_WAY(way) {
			struct zclab_send send;

			open_rig(&rig, tcp ? SOCK_STREAM : SOCK_DGRAM, true, 0,
				 &usual_setup);
			send = sends_over(way, &rig);
			CHECK_EQ(stopped_slice(&rig, &send, 0, &n), 0);
			CHECK(n.requests);
			/* Set beforehand, nothing is sent. */
			CHECK_EQ(zclab_ring_slice(rig.ring, &send, &usual_span, &set,
						  &n), 0);
			CHECK_EQ(n.sent_total, 0);
			CHECK_EQ(n.stopped, 1);
			/* While the start is awaited. */
			CHECK_EQ(stopped_slice(&rig, &send, now_ns() + 3000 * MS, &n),
				 0);
			CHECK_EQ(n.sent_total, 0);
			/* With the clock looked at but rarely. */
			send.clock_interval = 1 << 30;
			CHECK_EQ(stopped_slice(&rig, &send, 0, &n), 0);
			close_rig(&rig);
		}
}

static void test_stop_while_stuck(void)
{
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;
	int err, sqpoll;

	for (sqpoll = 0; sqpoll < 2; sqpoll++)
		FOR_EACH_WAY(way) {
			struct zclab_setup setup = usual_setup;
			struct zclab_send send = sends(way);

			if (sqpoll && !(way->is & OWN_WAIT))
				continue;
			setup.sqpoll = sqpoll;
			open_rig(&rig, SOCK_STREAM, false, 0, &setup);
			send.io_size_bytes = 1 << 16;
			send.outstanding_max = 16;	/* each is charged 72 KiB */
			err = stopped_slice(&rig, &send, 0, &n);
			CHECK(err == -ECANCELED || err == 0);
			/* With requests in flight no further slice is taken. */
			if ((way->is & BY_RING) && err)
				CHECK_EQ(zclab_ring_slice(rig.ring, &send, &usual_span,
							  NULL, &n), -EINVAL);
			close_rig(&rig);
		}
}

/* Its grace is one for all waits: a path that creeps does not begin it anew. */
static void *read_slowly(void *given)
{
	struct rig *rig = given;
	static char bytes[1 << 15];
	uint64_t end = now_ns() + 3000 * MS;

	while (!__atomic_load_n(&rig->inbox.stop, __ATOMIC_ACQUIRE) && now_ns() < end) {
		pause_ns(8 * MS);
		if (recv(rig->pair.receiving, bytes, sizeof(bytes), MSG_DONTWAIT) == 0)
			break;
	}
	rig->result = 0;
	return NULL;
}

static void test_stop_while_creeping(void)
{
	struct zclab_setup setup = usual_setup;
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;

	setup.sq_entries = ZCLAB_BATCH_MAX;
	FOR_EACH_WAY(way) {
		struct zclab_send send = sends(way);

		if (!(way->is & OWN_WAIT))
			continue;
		open_rig(&rig, SOCK_STREAM, false, 0, &setup);
		set_number(rig.pair.sending, SOL_SOCKET, SO_SNDBUF, 1 << 16);
		rig.receives = true;
		CHECK_EQ(pthread_create(&rig.thread, NULL, read_slowly, &rig), 0);
		send.io_size_bytes = 1 << 14;
		send.batch = send.outstanding_max = ZCLAB_BATCH_MAX;
		stopped_slice(&rig, &send, 0, &n);
		close_rig(&rig);
	}
}

/* A wait takes an entry of the submission queue, and leaves it as it was. */
static void test_sends_after_waits(void)
{
	struct zclab_span span = { .budget_ns = 3000 * MS, .requests_max = 60 };
	struct zclab_setup setup = usual_setup;
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;

	setup.sq_entries = 16;
	FOR_EACH_WAY(way) {
		struct zclab_send send;

		if (!(way->is & BY_RING))
			continue;
		open_rig(&rig, SOCK_STREAM, false, 0, &setup);
		set_number(rig.pair.sending, SOL_SOCKET, SO_SNDBUF, 1 << 12);
		rig.receives = true;
		CHECK_EQ(pthread_create(&rig.thread, NULL, read_slowly, &rig), 0);
		send = sends_over(way, &rig);
		CHECK_EQ(slice(&rig, &send, &span, &n), 0);
		CHECK_EQ(n.failed + n.eagain, 0);
		CHECK_EQ(n.bytes, n.requests * send.io_size_bytes);
		close_rig(&rig);
	}
}

/*
 * A wait's own request may find no memory, which is played here: it waits without one,
 * and leaves nothing in the queue that the next batch would send along.
 */
static void without_ticks(void)
{
	/* io_uring_enter(2) of one request that waits for one completion: -EAGAIN. */
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof(program) / sizeof(program[0]), program };
	struct zclab_span span = { .budget_ns = 3000 * MS, .requests_max = 60 };
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;
	int k;

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
		printf("skip: seccomp: %s\n", strerror(errno));
		return;
	}
	FOR_EACH_WAY(way) {
		if (!(way->is & OWN_WAIT) || !(way->is & BY_RING))
			continue;
		open_rig(&rig, SOCK_STREAM, false, 0, &usual_setup);
		set_number(rig.pair.sending, SOL_SOCKET, SO_SNDBUF, 1 << 12);
		rig.receives = true;
		CHECK_EQ(pthread_create(&rig.thread, NULL, read_slowly, &rig), 0);
		for (k = 0; k < 2; k++) {
			struct zclab_send send = sends_over(way, &rig);

			send.io_size_bytes = 2000;
			CHECK_EQ(slice(&rig, &send, &span, &n), 0);
			CHECK_EQ(n.requests, span.requests_max);
		}
		close_rig(&rig);
	}
}

static void test_waits_without_memory(void)
{
	in_child(without_ticks);
}

/* ---- refusals ---------------------------------------------------------------- */

#define REFUSED(change)                                                          \
	do {                                                                     \
		struct zclab_send send = usual_send;                             \
		struct zclab_counts n;                                           \
										 \
		change;                                                          \
		doing = #change;                                                 \
		CHECK_EQ(zclab_ring_slice(rig.ring, &send, &usual_span, NULL, &n), \
			 -EINVAL);                                               \
		CHECK_EQ(n.sent_total + n.failed, 0);                            \
	} while (0)

static void test_bad_sends_are_refused(void)
{
	struct rig rig;

	open_rig(&rig, SOCK_DGRAM, false, 0, &usual_setup);
	REFUSED(send.mode = -1);
	REFUSED(send.mode = ZCLAB_OPS);
	REFUSED(send.mode = ZCLAB_MIXED - 1);
	REFUSED(send.mode = ZCLAB_MSG_ZEROCOPY + 1);
	REFUSED(send.mode = INT32_MAX);
	REFUSED(send.mode = ZCLAB_MIXED);	/* no weights */
	REFUSED(send.mode = ZCLAB_MIXED; send.weights[0] = ZCLAB_WEIGHTS_MAX + 1);
	REFUSED(send.mode = ZCLAB_MIXED; send.weights[0] = ZCLAB_WEIGHTS_MAX;
		send.weights[ZCLAB_OPS - 1] = UINT32_MAX);
	REFUSED(send.file = 1);
	REFUSED(send.file = UINT32_MAX);
	REFUSED(send.flows = 0);
	REFUSED(send.flows = 2);
	REFUSED(send.flows = 2; send.file = UINT32_MAX);
	REFUSED(send.io_size_bytes = 0);
	REFUSED(send.io_size_bytes = 64 * STRIDE + 1);
	REFUSED(send.io_size_bytes = UINT32_MAX);
	REFUSED(send.batch = 0);
	REFUSED(send.batch = ZCLAB_BATCH_MAX + 1);
	REFUSED(send.batch = 129);
	REFUSED(send.batch = 65);	/* more than may be outstanding */
	REFUSED(send.batch = UINT32_MAX);
	REFUSED(send.iovecs = 0);
	REFUSED(send.iovecs = ZCLAB_IOVECS_MAX + 1);
	REFUSED(send.buffers = 0);
	REFUSED(send.buffers = 65);
	REFUSED(send.buffers = UINT32_MAX);
	REFUSED(send.buffer_offset = 64 * STRIDE - 1199);
	REFUSED(send.buffer_offset = UINT64_MAX);
	REFUSED(send.buffer_offset = UINT64_MAX - 1199);
	REFUSED(send.buffers = 2; send.buffer_stride = 64 * STRIDE - 1199);
	REFUSED(send.buffers = 2; send.buffer_stride = UINT64_MAX);
	REFUSED(send.buffers = 1 << 16; send.buffer_stride = 1ull << 48);
	REFUSED(send.outstanding_max = 0);
	REFUSED(send.outstanding_max = 7);
	REFUSED(send.outstanding_max = ZCLAB_SLOTS + 1);
	REFUSED(send.clock_interval = 0);
	REFUSED(send.drain = ZCLAB_DRAIN_EACH + 1);
	REFUSED(send.drain = -1);
	REFUSED(send.on_error = ZCLAB_ON_ERROR_COUNT + 1);
	REFUSED(send.on_error = -1);
	REFUSED(send.more = 0);
	REFUSED(send.address_bytes = ZCLAB_ADDRESS_BYTES + 1);
	REFUSED(send.seed = 0);
	/* Verified: whole units, and buffers that nobody reads while they change. */
	REFUSED(send.unit_bytes = 1200);
	REFUSED(send.unit_bytes = 1200; send.buffers = 63);
	REFUSED(send.unit_bytes = 7; send.buffers = 64; send.io_size_bytes = 7);
	REFUSED(send.unit_bytes = 500; send.buffers = 64);
	REFUSED(send.unit_bytes = 1200; send.buffers = 64; send.buffer_stride = 1199);
	REFUSED(send.unit_bytes = 1200; send.buffers = 64; send.buffer_stride = 0);
	REFUSED(send.unit_bytes = 1200; send.mode = ZCLAB_MSG_ZEROCOPY);
	close_rig(&rig);
}
#undef REFUSED

#define REFUSED(change, sockets, error)                                          \
	do {                                                                     \
		struct zclab_setup setup = usual_setup;                          \
										 \
		change;                                                          \
		doing = #change;                                                 \
		ring = NULL;                                                     \
		CHECK_EQ(zclab_ring_open(&setup, fds, sockets, &ring, &facts),   \
			 error);                                                 \
		if (ring)                                                        \
			zclab_ring_close(ring);                                  \
	} while (0)

static void test_bad_setups_are_refused(void)
{
	struct pair pair = open_udp(AF_INET);
	int fds[] = { pair.sending };
	struct zclab_ring_facts facts;
	struct zclab_ring *ring = NULL;

	REFUSED(, 0, -EINVAL);
	REFUSED(setup.buffer_bytes = 0, 1, -EINVAL);
	REFUSED(setup.registered_bytes = setup.buffer_bytes + 1, 1, -EINVAL);
	REFUSED(setup.buffer_bytes = UINT64_MAX, 1, -EINVAL);
	REFUSED(setup.taskrun = -1, 1, -EINVAL);
	REFUSED(setup.taskrun = ZCLAB_TASKRUN_DEFER + 1, 1, -EINVAL);
	REFUSED(setup.pages = -1, 1, -EINVAL);
	REFUSED(setup.pages = ZCLAB_PAGES_HUGETLB + 1, 1, -EINVAL);
	REFUSED(setup.sq_entries = 0, 1, -EINVAL);
	REFUSED(setup.sq_entries = UINT32_MAX, 1, -EINVAL);
	REFUSED(setup.cq_entries = 0, 1, -EINVAL);
	REFUSED(setup.cq_entries = 64, 1, -EINVAL);	/* fewer than sq_entries */
	REFUSED(setup.cq_entries = UINT32_MAX, 1, -EINVAL);
	REFUSED(setup.sqpoll = 1; setup.sqpoll_cpu = 1 << 20, 1, -EINVAL);
	REFUSED(setup.sqpoll = 1; setup.taskrun = ZCLAB_TASKRUN_DEFER, 1, -EINVAL);
	close_pair(&pair);
}
#undef REFUSED

/* ---- limits ------------------------------------------------------------------- */

/*
 * Root's rings are not charged: the limit holds for who lacks CAP_IPC_LOCK. It is one
 * for all rings of a user: one who has no other is taken where that is allowed.
 */
static bool drop_ipc_lock(void)
{
	const uid_t nobody_else = 0x7a63;
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	unsigned int bit = 1u << CAP_IPC_LOCK;

	if (!setresuid(nobody_else, nobody_else, nobody_else))
		return !prctl(PR_SET_DUMPABLE, 1);	/* or LSan could not look */
	if (syscall(SYS_capget, &head, data))
		return false;
	data[0].effective &= ~bit;
	data[0].permitted &= ~bit;
	data[0].inheritable &= ~bit;
	return !syscall(SYS_capset, &head, data);
}

static void limit(int which, rlim_t value)
{
	struct rlimit limits = { value, value };

	must(setrlimit(which, &limits), "setrlimit");
}

static void without_locked_memory(void)
{
	struct zclab_setup setup = usual_setup;
	struct pair pair = open_udp(AF_INET);
	struct zclab_ring_facts facts;
	struct zclab_ring *ring;
	unsigned int flags;
	int err;

	limit(RLIMIT_MEMLOCK, 0);
	if (!drop_ipc_lock()) {
		printf("skip: CAP_IPC_LOCK cannot be dropped\n");
		return;
	}
	err = zclab_ring_open(&setup, &pair.sending, 1, &ring, &facts);
	CHECK_EQ(err, -ENOMEM);		/* what is registered is always charged */
	setup.registered_bytes = 0;
	err = zclab_ring_open(&setup, &pair.sending, 1, &ring, &facts);
	CHECK(err == 0 || err == -ENOMEM);	/* so are rings, by some kernels */
	if (!err)
		zclab_ring_close(ring);
	err = zclab_probe_ring(&setup, &flags);
	CHECK(err == 0 || err == -ENOMEM);
	close_pair(&pair);
}

/* Enough for a small ring, and not for a batch of unregistered pages. */
static void with_little_locked_memory(void)
{
	struct zclab_setup setup = usual_setup;
	struct zclab_counts n;
	struct rig rig;
	const struct way *way;

	limit(RLIMIT_MEMLOCK, 64 << 10);
	if (!drop_ipc_lock()) {
		printf("skip: CAP_IPC_LOCK cannot be dropped\n");
		return;
	}
	setup.sq_entries = 8;
	setup.cq_entries = 64;
	setup.registered_bytes = 0;
	setup.buffer_bytes = 60000;
	open_rig(&rig, SOCK_DGRAM, false, 0, &setup);
	FOR_EACH_WAY(way) {
		struct zclab_send send = sends(way);

		if (((way->is & ZEROCOPY) && !(way->is & PINS)) ||
		    way->mode == ZCLAB_MIXED)
			continue;
		send.io_size_bytes = 60000;
		send.on_error = ZCLAB_ON_ERROR_COUNT;
		CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
		if (!(way->is & ZEROCOPY)) {
			CHECK_EQ(n.failed, 0);
		} else if (way->is & BY_RING) {
			CHECK(n.failed);
			CHECK_EQ(n.errors[0], ENOMEM);
			send.on_error = ZCLAB_ON_ERROR_STOP;
			CHECK_EQ(slice(&rig, &send, &usual_span, &n), -ENOMEM);
		}
		/* A request that fits is sent after one that did not. */
		send.io_size_bytes = 100;
		send.batch = 1;
		send.drain = ZCLAB_DRAIN_EACH;
		CHECK_EQ(slice(&rig, &send, &usual_span, &n), 0);
		CHECK_EQ(n.requests, 200);
	}
	close_rig(&rig);
}

static void test_locked_memory_limits(void)
{
	in_child(without_locked_memory);
	in_child(with_little_locked_memory);
}

/* Each step of opening may lack a descriptor; none of the others is kept. */
static void without_descriptors(void)
{
	struct pair pair = open_udp(AF_INET);
	struct zclab_inbox inbox = { .stop = 1 };
	struct zclab_tally tally = { 0 };
	struct zclab_ring_facts facts;
	struct zclab_ring *ring;
	unsigned int unit = 0, before = count_fds();
	int err, spare;

	for (spare = 0; spare < 3; spare++) {
		/* The lowest free number is what the next descriptor gets. */
		int next = must(dup(pair.sending), "dup");

		close(next);
		must(prlimit(0, RLIMIT_NOFILE,
			     &(struct rlimit){ (rlim_t)(next + spare), 4096 }, NULL),
		     "prlimit");
		err = zclab_ring_open(&usual_setup, &pair.sending, 1, &ring, &facts);
		CHECK_EQ(err, spare ? 0 : -EMFILE);
		if (!err)
			zclab_ring_close(ring);
		CHECK_EQ(zclab_probe_mode(ZCLAB_SEND, 1), spare < 2 ? -EMFILE : 0);
		CHECK_EQ(zclab_receive(&pair.receiving, &unit, 1, &inbox, &tally),
			 spare ? 0 : -EMFILE);
		must(prlimit(0, RLIMIT_NOFILE, &(struct rlimit){ 4096, 4096 }, NULL),
		     "prlimit");
		CHECK_EQ(count_fds(), before);
	}
	close_pair(&pair);
}

static void test_descriptor_limit(void)
{
	in_child(without_descriptors);
}

static void test_latency_floors(void)
{
	uint64_t last = 0;
	unsigned int i;

	for (i = 0; i < 4; i++)
		CHECK_EQ(zclab_latency_floor_ns(i), i);
	for (i = 8; i < ZCLAB_LATENCY_BUCKETS; i++) {
		CHECK(zclab_latency_floor_ns(i) > last);
		last = zclab_latency_floor_ns(i);
	}
	CHECK_EQ(zclab_latency_floor_ns(8), 4);
	CHECK(last < 1ull << 41);
}

static void test_probes(void)
{
	CHECK_EQ(zclab_probe_mode(ZCLAB_SEND, 0), 0);
	CHECK_EQ(zclab_probe_mode(ZCLAB_MIXED, 0), -EINVAL);
	CHECK_EQ(zclab_probe_mode(-1, 0), -EINVAL);
	CHECK(zclab_liburing_version()[0] && zclab_compiler()[0]);
}

/* ---- what a kernel must never say --------------------------------------------- */

#define RING_FLAGS_PASS 2u	/* IORING_MSG_RING_FLAGS_PASS (6.3) */

/* Posts a CQE to a ring, as if the kernel had: through a message of another ring. */
static int plant(int target, uint64_t user_data, int res, unsigned int flags)
{
	struct io_uring ring;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	int err;

	must(io_uring_queue_init(1, &ring, 0), "a second ring");
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(IORING_OP_MSG_RING, sqe, target, NULL, (unsigned int)res,
			 user_data);
	sqe->rw_flags = RING_FLAGS_PASS;
	sqe->file_index = flags;
	err = io_uring_submit_and_wait(&ring, 1);
	if (err == 1 && !io_uring_wait_cqe(&ring, &cqe))
		err = cqe->res;
	io_uring_queue_exit(&ring);
	return err;
}

/* Each lie is found, whatever else is in the queue; a tick says nothing. */
static void find_lies(const struct zclab_send *way)
{
	static const struct {
		int mode;
		uint64_t user_data;
		int res;
		unsigned int flags;
		int breach;
	} lies[] = {
		{ ZCLAB_SEND, ZCLAB_SLOTS, -ETIME, 0, ZCLAB_BREACH_NONE },
		{ ZCLAB_SEND, ZCLAB_SLOTS + 1, 1200, 0, ZCLAB_BREACH_UNKNOWN_REQUEST },
		{ ZCLAB_SEND, UINT64_MAX, 0, IORING_CQE_F_NOTIF,
		  ZCLAB_BREACH_UNKNOWN_REQUEST },
		{ ZCLAB_SEND, 63, 1200, 0, ZCLAB_BREACH_COMPLETION_TWICE },
		{ ZCLAB_SEND, 0, 1200, IORING_CQE_F_MORE, ZCLAB_BREACH_PLAIN_MORE },
		{ ZCLAB_SEND, 0, 0, IORING_CQE_F_NOTIF,
		  ZCLAB_BREACH_NOTIFICATION_FIRST },
		{ ZCLAB_SEND_ZC, 0, 0, IORING_CQE_F_NOTIF,
		  ZCLAB_BREACH_NOTIFICATION_FIRST },
		{ ZCLAB_SEND_ZC, 63, 0, IORING_CQE_F_NOTIF,
		  ZCLAB_BREACH_NOTIFICATION_TWICE },
		{ ZCLAB_SEND_ZC, 63, 1200, IORING_CQE_F_MORE,
		  ZCLAB_BREACH_COMPLETION_TWICE },
		{ ZCLAB_SEND_ZC, 0, 0, IORING_CQE_F_NOTIF | IORING_CQE_F_MORE,
		  ZCLAB_BREACH_NOTIFICATION_MORE },
	};
	struct zclab_setup setup = usual_setup;
	struct zclab_send send = *way;
	struct zclab_counts n;
	struct rig rig;
	size_t i;
	int err;

	setup.taskrun = ZCLAB_TASKRUN_COOP;	/* so it is there at once */
	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		bool told = lies[i].breach != ZCLAB_BREACH_NONE;

		open_rig(&rig, SOCK_DGRAM, false, 0, &setup);
		send.mode = lies[i].mode;
		err = plant(only_ring(), lies[i].user_data, lies[i].res, lies[i].flags);
		if (err) {
			printf("skip: breaches: %s\n", strerror(-err));
			close_rig(&rig);
			return;
		}
		CHECK_EQ(zclab_ring_slice(rig.ring, &send, &usual_span, NULL, &n),
			 told ? -EPROTO : 0);
		CHECK_EQ(n.breach, lies[i].breach);
		CHECK_EQ(n.requests, told ? 0 : 200);
		/* What is in flight is in doubt: no other slice may begin. */
		CHECK_EQ(zclab_ring_slice(rig.ring, &send, &usual_span, NULL, &n),
			 told ? -EINVAL : 0);
		close_rig(&rig);
	}
}

/* By each of the loops that look at what comes back. */
static void test_breaches(void)
{
	struct zclab_send send = usual_send;

	find_lies(&send);
	send.batch = 1;
	find_lies(&send);
	send.drain = ZCLAB_DRAIN_EACH;
	find_lies(&send);
	send.latency = 1;
	find_lies(&send);
}

/* ---- all of them --------------------------------------------------------------- */

#define TEST(name) { #name, test_##name }

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	TEST(probes), TEST(latency_floors), TEST(bad_setups_are_refused),
	TEST(bad_sends_are_refused), TEST(udp), TEST(udp_pieces), TEST(tcp),
	TEST(tcp_pieces), TEST(warmup), TEST(mixed_weights), TEST(drain_policies),
	TEST(alike),
	TEST(tiny_completion_queue), TEST(ring_setups), TEST(ring_descriptor),
	TEST(slices_share_no_flags), TEST(sqpoll_with_full_queue),
	TEST(sqpoll_reorders_no_stream),
	TEST(tiny_socket_buffer), TEST(short_sends_leave_units_whole), TEST(flows),
	TEST(addressed), TEST(gathered), TEST(failed_submit_clears_the_cork),
	TEST(looks_are_lag_sends_apart), TEST(looks_are_at_all_sockets),
	TEST(late_buffers_are_not_stamped), TEST(corruption_is_found),
	TEST(torn_datagram_is_found), TEST(listening_receiver),
	TEST(receiver_under_flood), TEST(receiver_tells_its_usage), TEST(receiver_refuses), TEST(refused_connection),
	TEST(errors_of_the_warmup), TEST(receiver_closes), TEST(wrong_sockets),
	TEST(signals), TEST(signals_while_waiting), TEST(stop), TEST(stop_while_stuck),
	TEST(stop_while_creeping),
	TEST(sends_after_waits), TEST(waits_without_memory), TEST(locked_memory_limits), TEST(descriptor_limit),
	TEST(breaches),
};

int main(int argc, char **argv)
{
	const char *wanted = argc > 1 ? argv[1] : "";
	unsigned int ran = 0, fds;
	struct sigaction action = { .sa_handler = on_signal };
	uint64_t begun = now_ns();
	size_t i;
	int err;

	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	own_network();
	err = zclab_probe_mode(ZCLAB_SEND, 0);
	if (err) {
		fprintf(stderr, "io_uring is not here: %s\n", strerror(-err));
		return 2;
	}
	probe();
	fds = count_fds();
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		unsigned int before = failed_checks;
		uint64_t start = now_ns();

		if (!strstr(tests[i].name, wanted))
			continue;
		doing = tests[i].name;
		tests[i].run();
		doing = tests[i].name;
		CHECK_EQ(count_fds(), fds);
		printf("%-6s %5llu ms  %s\n", failed_checks == before ? "ok" : "FAILED",
		       (unsigned long long)((now_ns() - start) / MS), tests[i].name);
		ran++;
	}
	printf("%u cases, %u failed checks, %.1f s\n", ran, failed_checks,
	       (double)(now_ns() - begun) / 1e9);
	return failed_checks || !ran;
}
