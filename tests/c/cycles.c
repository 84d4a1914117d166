// SPDX-License-Identifier: MIT
/*
 * Opens and closes rings with their sockets, over and over, and sends a little in
 * every mode in between: what a cycle does not give back adds up and shows.
 *
 * Usage: cycles [how many]
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <time.h>

#include "loopback.h"
#include "shim.h"

#define GROWTH_BYTES (256ul << 10) /* of 10000 cycles 32 bytes each are more */
#define CYCLES_TOLD_BY 100	/* fewer are not warmed up; so few are for valgrind */

static const int modes[] = {
	ZCLAB_SEND, ZCLAB_SENDMSG, ZCLAB_SEND_VEC, ZCLAB_SEND_ZC, ZCLAB_SEND_ZC_FIXED,
	ZCLAB_SEND_ZC_VEC, ZCLAB_SENDMSG_ZC, ZCLAB_SENDMSG_ZC_FIXED, ZCLAB_MIXED,
	ZCLAB_SEND_SYNC, ZCLAB_MSG_ZEROCOPY,
};

#define MODES (sizeof(modes) / sizeof(modes[0]))

static bool supported[MODES];
static unsigned int weights[ZCLAB_OPS];

static void give_up(const char *what, unsigned int cycle, int err)
{
	fprintf(stderr, "cycles: %s in cycle %u: %s\n", what, cycle, strerror(-err));
	exit(1);
}

static void probe(void)
{
	size_t i;

	for (i = 0; i < MODES; i++) {
		supported[i] = modes[i] == ZCLAB_MIXED ||
			       zclab_probe_mode(modes[i], 1) == 0;
		if (!supported[i])
			printf("skip: mode %d is not in this kernel\n", modes[i]);
		else if (modes[i] < ZCLAB_OPS)
			weights[modes[i]] = 1;
	}
}

/* All kinds of rings in turn; a polling thread is dear, so it comes less often. */
static struct zclab_setup setup_of(unsigned int cycle)
{
	struct zclab_setup setup = {
		.taskrun = (int)(cycle % 4), .submit_all = cycle / 2 % 2,
		.sqpoll_cpu = -1, .registered_ring = cycle / 4 % 2, .sq_entries = 8,
		.cq_entries = 64, .buffer_bytes = 8192, .registered_bytes = 8192,
	};

	if (cycle % 16 == 5) {
		setup.sqpoll = 1;
		setup.taskrun = ZCLAB_TASKRUN_BEST;
	}
	if (cycle % 32 == 9)
		setup.pages = ZCLAB_PAGES_THP;
	return setup;
}

static void send_two(struct zclab_ring *ring, struct zclab_send *send,
		     unsigned int cycle)
{
	static const struct zclab_span span = {
		.budget_ns = 1000000000, .requests_max = 2,
	};
	struct zclab_counts counts;
	int err = zclab_ring_slice(ring, send, &span, NULL, &counts);

	if (!err && (counts.requests != 2 || counts.notifications != counts.zc_requests))
		err = -EBADMSG;
	if (err)
		give_up("slice", cycle, err);
}

/* Over UDP in every mode; over TCP in one, as only the first segments of a
 * connection are acknowledged at once, and 40 ms a cycle would be too long. */
static void send_in_every_mode(struct zclab_ring *ring, unsigned int cycle)
{
	struct zclab_send send = {
		.flows = 1, .registered_file = (int)(cycle % 2), .io_size_bytes = 1000,
		.batch = 2, .iovecs = 1, .buffers = 1, .lag = 8, .outstanding_max = 8,
		.clock_interval = 1, .report_usage = 1, .waitall = 1, .more = 1,
		.seed = cycle + 1,
	};
	size_t i;

	memcpy(send.weights, weights, sizeof(weights));
	for (i = 0; i < MODES; i++) {
		send.mode = modes[i];
		if (supported[i])
			send_two(ring, &send, cycle);
	}
	send.file = 1;
	send.batch = 1;
	send.mode = modes[cycle % MODES];
	if (supported[cycle % MODES])
		send_two(ring, &send, cycle);
}

static void run_cycle(unsigned int cycle)
{
	struct pair udp = open_udp(AF_INET), tcp = open_tcp(AF_INET);
	struct zclab_setup setup = setup_of(cycle);
	int fds[] = { udp.sending, tcp.sending }, none[] = { udp.sending, 1 << 20 };
	struct zclab_ring_facts facts;
	struct zclab_ring *ring;
	int err;

	err = zclab_ring_open(&setup, none, 2, &ring, &facts);
	if (err != -EBADF)
		give_up("open with a bad descriptor", cycle, err);
	err = zclab_ring_open(&setup, fds, 2, &ring, &facts);
	if (err)
		give_up("open", cycle, err);
	send_in_every_mode(ring, cycle);
	zclab_ring_close(ring);
	close_pair(&udp);
	close_pair(&tcp);
}

static struct memory tell(unsigned int cycle, unsigned int *fds)
{
	struct memory held = memory_held();

	*fds = count_fds();
	printf("%6u cycles: %u descriptors, %lu KiB resident, %lu KiB mapped\n", cycle,
	       *fds, held.resident >> 10, held.mapped >> 10);
	return held;
}

int main(int argc, char **argv)
{
	unsigned int cycles = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 10000;
	unsigned int i, warm = cycles / 10, fds, fds_now;
	struct memory before = { 0, 0 }, after;
	struct timespec start, end;

	setvbuf(stdout, NULL, _IOLBF, 0);
	own_network();
	probe();
	tell(0, &fds);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (i = 0; i < cycles; i++) {
		if (i == warm)
			before = tell(i, &fds_now);
		else if (i == cycles / 2)
			tell(i, &fds_now);
		run_cycle(i);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	after = tell(cycles, &fds_now);
	printf("%ld s\n", (long)(end.tv_sec - start.tv_sec));
	if (fds_now != fds) {
		fprintf(stderr, "cycles: %u descriptors became %u\n", fds, fds_now);
		return 1;
	}
	/* Such an allocator keeps what is freed, and looks for leaks itself. */
	if (ADDRESS_SANITIZED || cycles < CYCLES_TOLD_BY)
		return 0;
	if (after.resident > before.resident + GROWTH_BYTES ||
	    after.mapped > before.mapped + GROWTH_BYTES) {
		fprintf(stderr, "cycles: memory grew from cycle %u on\n", warm);
		return 1;
	}
	return 0;
}
