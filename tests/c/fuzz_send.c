// SPDX-License-Identifier: MIT
/*
 * The input becomes a setup and some slices over UDP and TCP sockets that nobody
 * reads from. Whatever it asks for: no crash, no leak, an end in time, and counts
 * that agree with each other.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include "fuzz.h"
#include "ring.h"

#define TICK_NS 3000000		/* from the first tick on the stop word is set */
#define AREA_MAX (4u << 20)
#define SOCKETS 3u
#define SLICES 3
#define END_NS 2000000000ull	/* a case that takes longer hangs */

static uint64_t stop;
static timer_t timer;

static void on_tick(int signal)
{
	(void)signal;
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	own_network();
	timer = open_timer(on_tick);
	return 0;
}

static struct zclab_setup read_setup(struct input *in)
{
	struct zclab_setup setup = {
		.taskrun = (int)mostly(in, 0, ZCLAB_TASKRUN_DEFER),
		.submit_all = !one_in(in, 4),
		.sqpoll = one_in(in, 32),
		.registered_ring = one_in(in, 2),
		.sq_entries = (unsigned int)mostly(in, 1, 64),
	};

	if (setup.sqpoll)
		setup.taskrun = (int)mostly(in, 0, 1);
	setup.sqpoll_cpu = setup.sqpoll ? (int)mostly(in, 0, 2) - 1 : -1;
	setup.cq_entries = (unsigned int)mostly(in, setup.sq_entries % 65536,
						setup.sq_entries % 65536 + 512);
	if (one_in(in, 32))
		setup.pages = (int)mostly(in, 0, ZCLAB_PAGES_HUGETLB);
	setup.buffer_bytes = mostly(in, 1, 1 << 18);
	/* What is too much for any machine is left; what it might grant is not. */
	if (setup.buffer_bytes > AREA_MAX && setup.buffer_bytes < 1ull << 48)
		setup.buffer_bytes %= AREA_MAX;
	setup.registered_bytes = one_in(in, 4) ? mostly(in, 0, AREA_MAX) :
						 setup.buffer_bytes;
	return setup;
}

/* Only what touches no more than the socket itself: the case may run as root. */
static void read_cork(struct input *in, struct zclab_send *send)
{
	static const struct {
		int level, option;
	} corks[] = {
		{ IPPROTO_UDP, UDP_CORK },
		{ IPPROTO_TCP, TCP_CORK },
		{ IPPROTO_TCP, TCP_NODELAY },
		{ SOL_SOCKET, 9999 },	/* there is none such */
	};
	size_t which = number(in, 1) % (sizeof(corks) / sizeof(corks[0]));

	send->cork = one_in(in, 4);
	send->cork_level = corks[which].level;
	send->cork_option = corks[which].option;
}

/* The receiving socket's address, cut, or of an unknown family: never elsewhere. */
static void read_address(struct input *in, struct zclab_send *send,
			 const struct place *place)
{
	if (!one_in(in, 4))
		return;
	memcpy(send->address, &place->at, sizeof(struct sockaddr_in));
	send->address_bytes = (unsigned int)mostly(in, sizeof(struct sockaddr_in),
						   ZCLAB_ADDRESS_BYTES);
	if (one_in(in, 4))
		((struct sockaddr *)send->address)->sa_family =
			(sa_family_t)number(in, 1);
}

static struct zclab_send read_send(struct input *in, const struct zclab_setup *setup,
				   const struct place *place)
{
	uint64_t area = setup->buffer_bytes < AREA_MAX ? setup->buffer_bytes : AREA_MAX;
	struct zclab_send send = { 0 };
	unsigned int op;

	send.mode = (int)mostly(in, 0, ZCLAB_OPS + 2);
	if (send.mode >= ZCLAB_OPS && send.mode <= ZCLAB_OPS + 2)
		send.mode += ZCLAB_MIXED - ZCLAB_OPS;
	if (send.mode == ZCLAB_MIXED)
		for (op = 0; op < ZCLAB_OPS; op++)
			send.weights[op] = (unsigned int)mostly(in, 0, 8);
	send.file = (unsigned int)mostly(in, 0, SOCKETS - 1);
	send.flows = (unsigned int)mostly(in, 1, SOCKETS - send.file % SOCKETS);
	send.registered_file = one_in(in, 2);
	send.io_size_bytes = (unsigned int)mostly(in, 1, area < 65536 ? area : 65536);
	send.batch = (unsigned int)mostly(in, 1, setup->sq_entries % 64 + 1);
	send.iovecs = (unsigned int)mostly(in, 1, ZCLAB_IOVECS_MAX);
	send.buffer_offset = one_in(in, 4) ? mostly(in, 0, area) : 0;
	send.buffer_stride = mostly(in, send.io_size_bytes, area + send.io_size_bytes);
	send.buffers = one_in(in, 2) ? 1 : (unsigned int)mostly(in, 1, 64);
	send.drain = (int)mostly(in, 0, ZCLAB_DRAIN_EACH);
	send.lag = (unsigned int)mostly(in, 0, 64);
	send.outstanding_max = (unsigned int)mostly(in, send.batch,
						    (uint64_t)send.batch + 256);
	send.clock_interval = (unsigned int)mostly(in, 1, 64);
	send.report_usage = one_in(in, 2);
	send.waitall = one_in(in, 2);
	send.eor = one_in(in, 4);
	send.more = one_in(in, 8) ? (unsigned int)mostly(in, 1, 64) : 1;
	read_cork(in, &send);
	read_address(in, &send, place);
	send.latency = one_in(in, 2);
	if (one_in(in, 4))
		send.unit_bytes = one_in(in, 2) ? send.io_size_bytes :
						  (unsigned int)mostly(in, 8, 64);
	send.on_error = (int)mostly(in, 0, ZCLAB_ON_ERROR_COUNT);
	send.seed = mostly(in, 1, UINT32_MAX);
	return send;
}

static struct zclab_span read_span(struct input *in)
{
	struct zclab_span span = {
		.warmup_ns = one_in(in, 2) ? number(in, 2) : 0,
		.budget_ns = number(in, 3) % 200000,
		.requests_max = 1 + number(in, 1) % 64,
	};

	if (one_in(in, 8))
		span.start_at_ns = mostly(in, now_ns(), now_ns() + 200000);
	return span;
}

static uint64_t sum(const uint64_t *values, unsigned int count)
{
	uint64_t total = 0;

	while (count--)
		total += values[count];
	return total;
}

static void check(const struct zclab_ring *ring, const struct zclab_send *send, int err,
		  const struct zclab_counts *n)
{
	bool by_ring = send->mode <= ZCLAB_MIXED;

	HOLDS(err <= 0);
	HOLDS(n->breach == ZCLAB_BREACH_NONE && err != -EPROTO);
	HOLDS(sum(n->error_counts, ZCLAB_ERRORS) >= n->failed);
	HOLDS(n->copied <= n->notifications);
	HOLDS(n->notifications <= n->zc_requests && n->zc_requests <= n->requests);
	HOLDS(n->requests <= n->sent_total && n->bytes <= n->sent_total_bytes);
	HOLDS(n->bytes <= n->requests * send->io_size_bytes);
	/* What is stuck is left alone for the stop word only, and that is said. */
	if (ring->awaiting || ring->outstanding) {
		HOLDS(err && n->stopped);
		return;
	}
	HOLDS(n->notifications == n->zc_requests);
	if (send->latency && by_ring)
		HOLDS(sum(n->latency, ZCLAB_LATENCY_BUCKETS) == n->notifications);
	if (!err && send->on_error == ZCLAB_ON_ERROR_STOP)
		HOLDS(!n->failed);
}

static void run_slices(struct input *in, struct zclab_ring *ring,
		       const struct zclab_setup *setup, const struct place *place)
{
	struct zclab_counts counts;
	int i, err;

	for (i = 0; i < SLICES; i++) {
		struct zclab_send send = read_send(in, setup, place);
		struct zclab_span span = read_span(in);

		__atomic_store_n(&stop, one_in(in, 32), __ATOMIC_RELAXED);
		set_timer(timer, TICK_NS);
		err = zclab_ring_slice(ring, &send, &span, &stop, &counts);
		set_timer(timer, 0);
		if (ring->awaiting || ring->outstanding || err != -EINVAL)
			check(ring, &send, err, &counts);
		if (ring->awaiting || ring->outstanding) {
			HOLDS(zclab_ring_slice(ring, &send, &span, &stop, &counts) ==
			      -EINVAL);
			break;
		}
		if (!in->left)
			break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int held = count_fds();
	struct pair udp = open_udp(AF_INET), tcp = open_tcp(AF_INET);
	struct input in = { data, size };
	struct zclab_setup setup = read_setup(&in);
	struct zclab_ring_facts facts;
	struct zclab_ring *ring;
	uint64_t start = now_ns();
	int fds[SOCKETS], ends[2];

	must(pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe");
	fds[0] = udp.sending;
	fds[1] = tcp.sending;
	fds[2] = ends[1];	/* no socket at all */
	if (one_in(&in, 32))
		fds[number(&in, 1) % SOCKETS] = (int)(number(&in, 4) | 1 << 16);
	if (!zclab_ring_open(&setup, fds, one_in(&in, 32) ? 0 : SOCKETS, &ring, &facts)) {
		run_slices(&in, ring, &setup, &udp.place);
		zclab_ring_close(ring);
	}
	HOLDS(now_ns() < start + END_NS);
	close(ends[0]);
	close(ends[1]);
	close_pair(&udp);
	close_pair(&tcp);
	HOLDS(count_fds() == held);
	return 0;
}
