// SPDX-License-Identifier: MIT
/*
 * The input becomes datagrams and pieces of streams, well stamped or not, for the
 * receiver to take. It must not crash, and must find what a second, plainer look at
 * the same bytes finds.
 */
#define _GNU_SOURCE
#include "fuzz.h"
#include "shim.h"

#define TICK_NS 100000
#define TICKS_MAX 2000		/* the machine is busy: then it is not waited for */
#define PIECES 64
#define PIECE_MAX 4096u
#define COMERS 2
#define UNIT_MAX 2000

enum { FIRST_UDP, SECOND_UDP, TCP, LISTENING, INLETS };
#define SENDERS (LISTENING + COMERS)

/* What one sender sends, and what is to be found in it. */
struct stream {
	int fd;
	unsigned int inlet;
	uint64_t next;		/* number of the next unit that is well stamped */
	unsigned char *bytes;	/* TCP: all that was sent */
	size_t count;
};

struct found {
	uint64_t bytes, datagrams, corrupt, disordered, expected;
};

static struct zclab_inbox inbox;
static struct zclab_tally tallies[INLETS];
static struct found awaited[INLETS];
static unsigned int comers, ticks;
static timer_t timer;

static bool all_there(void)
{
	unsigned int i;

	for (i = 0; i < INLETS; i++)
		if (__atomic_load_n(&tallies[i].bytes, __ATOMIC_RELAXED) <
			    awaited[i].bytes ||
		    __atomic_load_n(&tallies[i].received, __ATOMIC_RELAXED) <
			    awaited[i].datagrams)
			return false;
	return __atomic_load_n(&tallies[LISTENING].closed, __ATOMIC_RELAXED) >= comers;
}

static void on_tick(int signal)
{
	(void)signal;
	if (++ticks >= TICKS_MAX || all_there())
		__atomic_store_n(&inbox.stop, 1, __ATOMIC_RELEASE);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	own_network();
	timer = open_timer(on_tick);
	return 0;
}

/* ---- the second look --------------------------------------------------------- */

static unsigned char expected_byte(uint64_t unit, unsigned int at)
{
	if (at >= 8)
		return (unsigned char)(unit + at);
	return ((const unsigned char *)&unit)[at];	/* on a little-endian machine */
}

static bool is_unit(const unsigned char *bytes, unsigned int size, uint64_t unit)
{
	unsigned int i;

	for (i = 0; i < size; i++)
		if (bytes[i] != expected_byte(unit, i))
			return false;
	return true;
}

static void look_at_datagram(struct found *found, const unsigned char *bytes,
			     size_t count, unsigned int unit_bytes)
{
	size_t at;

	found->bytes += count;
	found->datagrams++;
	for (at = 0; unit_bytes && at + unit_bytes <= count; at += unit_bytes) {
		uint64_t unit = 0;

		memcpy(&unit, bytes + at, unit_bytes < 8 ? unit_bytes : 8);
		found->corrupt += !is_unit(bytes + at, unit_bytes, unit);
		found->disordered += unit < found->expected;
		if (unit >= found->expected)
			found->expected = unit + 1;
	}
	if (unit_bytes && count % unit_bytes)
		found->corrupt++;
}

static void look_at_stream(struct found *found, const struct stream *stream,
			   unsigned int unit_bytes)
{
	size_t at;

	found->bytes += stream->count;
	for (at = 0; unit_bytes && at + unit_bytes <= stream->count; at += unit_bytes)
		found->corrupt += !is_unit(stream->bytes + at, unit_bytes,
					   at / unit_bytes);
}

/* ---- the sending ------------------------------------------------------------- */

/* A unit as it should be, with one byte turned over now and then; or the input. */
static size_t lay_piece(struct input *in, struct stream *stream,
			unsigned int unit_bytes, unsigned char *bytes)
{
	size_t i, count;

	if (unit_bytes && !one_in(in, 4)) {
		size_t units = 1 + number(in, 1) % 4;

		count = units * unit_bytes;
		if (count > PIECE_MAX)
			count = unit_bytes;
		if (one_in(in, 16))
			stream->next = number(in, 8);
		for (i = 0; i < count; i++)
			bytes[i] = expected_byte(stream->next + i / unit_bytes,
						 (unsigned int)(i % unit_bytes));
		stream->next += count / unit_bytes;
		if (one_in(in, 8))
			bytes[number(in, 2) % count] ^= (unsigned char)number(in, 1);
		return count;
	}
	count = number(in, 2) % (PIECE_MAX + 1);
	if (count > in->left)
		count = in->left;
	memcpy(bytes, in->at, count);
	in->at += count;
	in->left -= count;
	return count;
}

static void send_pieces(struct input *in, struct stream *streams, unsigned int count,
			const unsigned int *units)
{
	unsigned char bytes[PIECE_MAX];
	unsigned int i;

	for (i = 0; i < PIECES && in->left; i++) {
		struct stream *stream = &streams[number(in, 1) % count];
		unsigned int unit = units[stream->inlet];
		size_t size = lay_piece(in, stream, unit, bytes);

		HOLDS(send(stream->fd, bytes, size, MSG_DONTWAIT) == (ssize_t)size);
		if (stream->inlet < TCP) {
			look_at_datagram(&awaited[stream->inlet], bytes, size, unit);
			continue;
		}
		memcpy(stream->bytes + stream->count, bytes, size);
		stream->count += size;
	}
}

static int open_listening(struct place *place)
{
	int fd = open_bound(AF_INET, SOCK_STREAM, place);

	must(listen(fd, COMERS), "listen");
	return fd;
}

static int come(const struct place *place)
{
	int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	must(connect(fd, (const struct sockaddr *)&place->at, place->length), "connect");
	return fd;
}

static void compare(const unsigned int *units)
{
	unsigned int i;

	HOLDS(tallies[LISTENING].accepted == comers);
	HOLDS(tallies[LISTENING].closed == comers);
	for (i = 0; i < INLETS; i++) {
		HOLDS(!tallies[i].error);
		HOLDS(tallies[i].bytes == awaited[i].bytes);
		if (i < TCP)
			HOLDS(tallies[i].received == awaited[i].datagrams);
		if (!units[i])
			HOLDS(!tallies[i].corrupt && !tallies[i].disordered);
		HOLDS(tallies[i].corrupt == awaited[i].corrupt);
		HOLDS(tallies[i].disordered == awaited[i].disordered);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int held = count_fds();
	struct pair first = open_udp(AF_INET), second = open_udp(AF_INET);
	struct pair tcp = open_tcp(AF_INET);
	struct input in = { data, size };
	struct stream streams[SENDERS] = {
		{ .fd = first.sending, .inlet = FIRST_UDP },
		{ .fd = second.sending, .inlet = SECOND_UDP },
		{ .fd = tcp.sending, .inlet = TCP },
	};
	struct place place;
	int fds[INLETS] = { first.receiving, second.receiving, tcp.receiving,
			    open_listening(&place) };
	unsigned int i, units[INLETS];

	memset(&inbox, 0, sizeof(inbox));
	memset(tallies, 0, sizeof(tallies));
	memset(awaited, 0, sizeof(awaited));
	ticks = 0;
	for (i = 0; i < INLETS; i++)
		units[i] = one_in(&in, 4) ? 0 :
			   1 + (unsigned int)number(&in, 2) % UNIT_MAX;
	comers = one_in(&in, 4) ? 1 + (unsigned int)number(&in, 1) % COMERS : 0;
	for (i = 0; i < comers; i++)
		streams[LISTENING + i] = (struct stream){ .fd = come(&place),
							  .inlet = LISTENING };
	for (i = TCP; i < LISTENING + comers; i++) {
		streams[i].bytes = malloc(PIECES * PIECE_MAX);
		HOLDS(streams[i].bytes);
	}

	send_pieces(&in, streams, LISTENING + comers, units);
	for (i = TCP; i < LISTENING + comers; i++) {
		shutdown(streams[i].fd, SHUT_WR);
		look_at_stream(&awaited[streams[i].inlet], &streams[i],
			       units[streams[i].inlet]);
		free(streams[i].bytes);
	}
	set_timer(timer, TICK_NS);
	HOLDS(zclab_receive(fds, units, INLETS, &inbox, tallies) == 0);
	set_timer(timer, 0);
	if (ticks < TICKS_MAX)
		compare(units);

	for (i = 0; i < comers; i++)
		close(streams[LISTENING + i].fd);
	close(fds[LISTENING]);
	close_pair(&first);
	close_pair(&second);
	close_pair(&tcp);
	HOLDS(count_fds() == held);
	return 0;
}
