// SPDX-License-Identifier: MIT
/*
 * The responder, checked from C between two socket pairs: what it answers to which
 * headers, and that it acknowledges nothing else.
 *
 * Usage: respond_test [part of a case's name]
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "headers.h"

#define PORTS 4u
#define FIRST_PORT 8000
#define ISN 0xfffff000u		/* so that numbers wrap round */

static unsigned int failed_checks;
static const char *doing = "";

static void fail(int line, const char *condition, long long have, long long want)
{
	fprintf(stderr, "respond_test.c:%d: %s: not so: %s (%lld, %lld)\n", line, doing,
		condition, have, want);
	failed_checks++;
}

#define CHECK_EQ(have, want)                                                    \
	do {                                                                    \
		long long have_ = (long long)(have), want_ = (long long)(want); \
                                                                                \
		if (have_ != want_)                                             \
			fail(__LINE__, #have " == " #want, have_, want_);       \
	} while (0)
#define CHECK(condition) CHECK_EQ(!!(condition), 1)

static const struct zclab_reply usual = {
	.window_bytes = 1 << 20,
	.sack = 1,
	.ack_every = 1,
	.seed = 1,
	.first_port = FIRST_PORT,
};

/* What came of one stage. */
struct outcome {
	struct zclab_replies n;
	struct zclab_tally tallies[PORTS];
	struct answer answers[256];
	unsigned int count;
};

static void read_answers(struct stage *stage, struct outcome *o)
{
	uint8_t bytes[256];
	ssize_t got;

	while (o->count < 256 && (got = recv(stage->tun[0], bytes, sizeof(bytes), 0)) > 0)
		CHECK(read_answer(bytes, (size_t)got, &o->answers[o->count++]));
}

/* Lets the responder read what was logged, to its end. */
static struct outcome respond(struct stage *stage, const struct zclab_reply *reply)
{
	struct zclab_inbox inbox = { 0 };
	struct outcome o = { .count = 0 };

	shutdown(stage->log[0], SHUT_WR);
	CHECK_EQ(zclab_respond(stage->log[1], stage->tun[1], reply, &inbox, &o.n,
			       o.tallies, PORTS), 0);
	read_answers(stage, &o);
	close_stage(stage);
	return o;
}

static struct packet packet_of(int version, uint8_t flags, uint32_t at, uint32_t payload)
{
	return (struct packet){ .version = version, .from_port = 40000,
				.to_port = FIRST_PORT + 1, .flags = flags,
				.number = ISN + 1 + at, .payload = payload };
}

static void log_syn(struct stage *stage, int version)
{
	struct packet p = packet_of(version, H_SYN, (uint32_t)-1, 0);

	p.options = usual_options;
	p.option_bytes = sizeof(usual_options);
	log_packet(stage, &p);
}

static void log_data(struct stage *stage, int version, uint32_t at, uint32_t payload)
{
	struct packet p = packet_of(version, H_ACK, at, payload);

	log_packet(stage, &p);
}

/* ---- cases ------------------------------------------------------------------- */

static void test_handshake(void)
{
	int version;

	for (version = 4; version <= 6; version += 2) {
		struct zclab_reply reply = usual;
		struct stage stage = open_stage();
		struct outcome o;

		reply.timestamps = 1;
		reply.window_bytes = 1 << 30;
		log_syn(&stage, version);
		log_syn(&stage, version);	/* repeated: answered alike */
		o = respond(&stage, &reply);
		CHECK_EQ(o.count, 2);
		CHECK_EQ(o.answers[0].version, version);
		CHECK_EQ(o.answers[0].flags, H_SYN | H_ACK);
		CHECK_EQ(o.answers[0].from_port, FIRST_PORT + 1);
		CHECK_EQ(o.answers[0].to_port, 40000);
		CHECK_EQ(o.answers[0].acknowledged, ISN + 1);
		CHECK_EQ(o.answers[0].window, 65535);
		/* two of these and their headers have a length that IP can tell */
		CHECK_EQ(o.answers[0].mss, (65535 - 20 - 60) / 2);
		CHECK_EQ(o.answers[0].scale, 14);
		CHECK(o.answers[0].sack_permitted && o.answers[0].timestamps);
		CHECK_EQ(o.answers[0].echo, 77);
		CHECK_EQ(o.answers[1].number, o.answers[0].number);
		CHECK_EQ(o.n.syns, 1);
		CHECK_EQ(o.n.flows_most, 1);
		CHECK_EQ(o.tallies[1].accepted, 1);
	}
}

/* What the sender did not offer is not used. */
static void test_bare_handshake(void)
{
	struct packet p = packet_of(4, H_SYN, (uint32_t)-1, 0);
	struct stage stage = open_stage();
	struct outcome o;

	log_packet(&stage, &p);
	log_data(&stage, 4, 0, 100);
	log_data(&stage, 4, 200, 100);
	o = respond(&stage, &usual);
	CHECK_EQ(o.count, 3);
	CHECK(!o.answers[0].scale && !o.answers[0].sack_permitted);
	CHECK_EQ(o.answers[1].window, 65535);
	CHECK_EQ(o.answers[2].acknowledged, ISN + 101);
	CHECK_EQ(o.answers[2].sacked, 0);
}

static void test_options_of_ones_own(void)
{
	struct zclab_reply reply = usual;
	struct stage stage = open_stage();
	struct outcome o;

	reply.mss = 1460;
	reply.sack = 0;
	reply.window_bytes = 100000;	/* 50000 << 1 */
	log_syn(&stage, 4);
	log_data(&stage, 4, 0, 1);
	o = respond(&stage, &reply);
	CHECK_EQ(o.answers[0].mss, 1460);
	CHECK(!o.answers[0].sack_permitted && !o.answers[0].timestamps);
	CHECK_EQ(o.answers[0].scale, 1);
	CHECK_EQ(o.answers[1].window, 50000);
}

static void test_every_nth_segment_is_acknowledged(void)
{
	unsigned int every, i;

	for (every = 1; every < 6; every++) {
		struct zclab_reply reply = usual;
		struct stage stage = open_stage();
		struct outcome o;

		reply.ack_every = every;
		log_syn(&stage, 4);
		for (i = 0; i < 10; i++)
			log_data(&stage, 4, i * 65000, 65000);
		o = respond(&stage, &reply);
		/* all at the latest when no more is there */
		CHECK_EQ(o.n.acks, (10 + every - 1) / every);
		CHECK_EQ(o.n.segments, 10);
		CHECK_EQ(o.n.bytes, 650000);
		CHECK_EQ(o.n.repeated_acks, 0);
		CHECK_EQ(o.n.largest, 65000);
		CHECK_EQ(o.answers[o.count - 1].acknowledged, ISN + 1 + 650000);
		CHECK_EQ(o.tallies[1].bytes, 650000);
		CHECK_EQ(o.tallies[1].received, 10);
	}
}

static void test_an_ack_may_wait(void)
{
	struct zclab_reply reply = usual;
	struct stage stage = open_stage();
	struct timespec begun, ended;
	struct outcome o;

	reply.ack_every = 100;
	reply.ack_delay_ns = 3600ull * 1000000000;
	log_syn(&stage, 4);
	log_data(&stage, 4, 0, 10);
	log_data(&stage, 4, 10, 10);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	o = respond(&stage, &reply);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	CHECK(ended.tv_sec - begun.tv_sec < 60);
	CHECK_EQ(o.n.acks, 1);		/* the log's end ends the wait */
	CHECK_EQ(o.answers[1].acknowledged, ISN + 21);
}

static void test_a_gap_is_not_acknowledged(void)
{
	struct stage stage = open_stage();
	struct outcome o;

	log_syn(&stage, 6);
	log_data(&stage, 6, 0, 1000);
	log_data(&stage, 6, 2000, 1000);
	log_data(&stage, 6, 4000, 1000);
	log_data(&stage, 6, 3000, 1000);	/* one range with its neighbours */
	log_data(&stage, 6, 1000, 1000);	/* fills the gap */
	log_data(&stage, 6, 500, 1000);		/* was seen */
	log_data(&stage, 6, 4500, 1000);	/* in part */
	o = respond(&stage, &usual);
	CHECK_EQ(o.count, 8);
	CHECK_EQ(o.answers[1].acknowledged, ISN + 1001);
	CHECK_EQ(o.answers[2].acknowledged, ISN + 1001);
	CHECK_EQ(o.answers[2].sacked, 1);
	CHECK_EQ(o.answers[2].range[0].from, ISN + 2001);
	CHECK_EQ(o.answers[2].range[0].to, ISN + 3001);
	CHECK_EQ(o.answers[3].sacked, 2);
	CHECK_EQ(o.answers[3].range[0].from, ISN + 4001);	/* the latest first */
	CHECK_EQ(o.answers[3].range[1].from, ISN + 2001);
	CHECK_EQ(o.answers[4].sacked, 1);
	CHECK_EQ(o.answers[4].range[0].to, ISN + 5001);
	CHECK_EQ(o.answers[5].acknowledged, ISN + 5001);
	CHECK_EQ(o.answers[5].sacked, 0);
	CHECK_EQ(o.answers[6].sacked, 1);	/* what came twice */
	CHECK_EQ(o.answers[6].range[0].from, ISN + 501);
	CHECK_EQ(o.answers[6].range[0].to, ISN + 1501);
	CHECK_EQ(o.answers[7].sacked, 0);
	CHECK_EQ(o.answers[7].acknowledged, ISN + 5501);
	CHECK_EQ(o.n.gaps, 3);
	CHECK_EQ(o.n.repeated, 1);
	CHECK_EQ(o.n.repeated_acks, 4);
	CHECK_EQ(o.n.bytes, 5500);
	CHECK_EQ(o.tallies[1].disordered, 3);
}

/* More gaps than it remembers: what it forgets, it never acknowledges. */
static void test_many_gaps(void)
{
	struct stage stage = open_stage();
	struct outcome o;
	uint32_t i;

	log_syn(&stage, 4);
	for (i = 1; i <= 40; i++)
		log_data(&stage, 4, i * 200, 100);
	log_data(&stage, 4, 0, 8100 - 100);
	o = respond(&stage, &usual);
	CHECK_EQ(o.n.gaps, 40);
	CHECK_EQ(o.n.crowded, 8);
	CHECK_EQ(o.n.bytes, 8000);
	CHECK_EQ(o.answers[o.count - 1].acknowledged, ISN + 8001);
}

static void test_nothing_beyond_the_window(void)
{
	struct zclab_reply reply = usual;
	struct stage stage = open_stage();
	struct outcome o;

	reply.window_bytes = 100000;
	log_syn(&stage, 4);
	log_data(&stage, 4, 1 << 20, 100);
	log_data(&stage, 4, 0u - 5000, 100);	/* long ago */
	log_data(&stage, 4, 0, 100);
	o = respond(&stage, &reply);
	CHECK_EQ(o.n.beyond, 1);
	CHECK_EQ(o.n.repeated, 1);
	CHECK_EQ(o.n.bytes, 100);
	CHECK_EQ(o.answers[3].sacked, 0);
}

static void test_close(void)
{
	struct packet fin = packet_of(4, H_FIN | H_ACK, 100, 50), last;
	struct stage stage = open_stage();
	struct outcome o;

	log_syn(&stage, 4);
	log_packet(&stage, &fin);		/* before what precedes it */
	log_data(&stage, 4, 0, 100);
	log_packet(&stage, &fin);
	log_data(&stage, 4, 151, 100);		/* after the end */
	o = respond(&stage, &usual);
	CHECK_EQ(o.n.fins, 1);
	CHECK_EQ(o.n.bytes, 150);
	CHECK_EQ(o.n.flows, 0);			/* it forgets them at its end */
	CHECK_EQ(o.tallies[1].closed, 1);
	CHECK_EQ(o.answers[1].acknowledged, ISN + 1);
	CHECK_EQ(o.answers[1].flags, H_ACK);
	CHECK_EQ(o.answers[2].acknowledged, ISN + 1 + 151);
	CHECK_EQ(o.answers[2].flags, H_FIN | H_ACK);
	CHECK_EQ(o.answers[3].flags, H_FIN | H_ACK);
	CHECK_EQ(o.answers[4].acknowledged, ISN + 1 + 151);

	/* The sender's last ACK ends it: then the connection is unknown. */
	stage = open_stage();
	log_syn(&stage, 4);
	last = packet_of(4, H_FIN | H_ACK, 0, 0);
	log_packet(&stage, &last);
	last = packet_of(4, H_ACK, 1, 0);
	last.acknowledged = 0;
	log_packet(&stage, &last);		/* another one does not */
	o = respond(&stage, &usual);
	CHECK_EQ(o.n.refusals, 0);
	CHECK_EQ(o.count, 2);
}

static void test_reset(void)
{
	struct packet far = packet_of(4, H_RST, 1u << 30, 0);
	struct packet rst = packet_of(4, H_RST | H_ACK, 200, 0);
	struct stage stage = open_stage();
	struct outcome o;

	log_syn(&stage, 4);
	log_data(&stage, 4, 0, 100);
	log_packet(&stage, &far);		/* not of this connection */
	log_data(&stage, 4, 100, 100);
	log_packet(&stage, &rst);
	log_packet(&stage, &rst);		/* nobody's: no answer to that */
	log_data(&stage, 4, 200, 100);		/* nobody's any more */
	o = respond(&stage, &usual);
	CHECK_EQ(o.n.resets, 1);
	CHECK_EQ(o.n.bytes, 200);
	CHECK_EQ(o.n.refusals, 1);
	CHECK_EQ(o.count, 4);
	CHECK_EQ(o.answers[3].flags, H_RST);
}

static void test_strangers_are_refused(void)
{
	struct packet p = packet_of(6, H_ACK, 100, 50);
	struct stage stage = open_stage();
	struct outcome o;

	p.acknowledged = 4711;
	log_packet(&stage, &p);
	p.flags = H_FIN;
	log_packet(&stage, &p);
	p.flags = H_RST;
	log_packet(&stage, &p);
	o = respond(&stage, &usual);
	CHECK_EQ(o.count, 2);
	CHECK_EQ(o.answers[0].flags, H_RST);
	CHECK_EQ(o.answers[0].number, 4711);
	CHECK_EQ(o.answers[1].flags, H_RST | H_ACK);
	CHECK_EQ(o.answers[1].acknowledged, ISN + 1 + 100 + 50 + 1);
	CHECK_EQ(o.n.refusals, 2);
	CHECK_EQ(o.n.bytes, 0);
}

/* The same ends once more, with another number: a new connection. */
static void test_a_new_connection_replaces_the_old(void)
{
	struct packet syn = packet_of(4, H_SYN, 70000, 0);
	struct packet data = packet_of(4, H_ACK, 70001, 10);
	struct stage stage = open_stage();
	struct outcome o;

	log_syn(&stage, 4);
	log_data(&stage, 4, 0, 100);
	log_syn(&stage, 4);			/* late: no new one */
	log_packet(&stage, &syn);
	log_packet(&stage, &data);
	o = respond(&stage, &usual);
	CHECK_EQ(o.n.syns, 2);
	CHECK_EQ(o.n.flows_most, 1);
	CHECK_EQ(o.n.bytes, 110);
	CHECK_EQ(o.answers[2].flags, H_ACK);
	CHECK_EQ(o.answers[2].acknowledged, ISN + 101);
	CHECK_EQ(o.answers[4].acknowledged, ISN + 1 + 70001 + 10);
}

static void test_many_flows(void)
{
	enum { FLOWS = 3000 };
	struct stage stage = open_stage();
	struct outcome o = { .count = 0 };
	struct zclab_inbox inbox = { 0 };
	unsigned int i, fin;
	uint8_t bytes[256];

	for (i = 0; i < FLOWS; i++) {
		struct packet p = packet_of(i % 2 ? 4 : 6, H_SYN, (uint32_t)-1, 0);

		p.from_port = (uint16_t)(1024 + i);
		log_packet(&stage, &p);
	}
	for (fin = 0; fin < 2; fin++)
		for (i = 0; i < FLOWS; i++) {
			struct packet p = packet_of(i % 2 ? 4 : 6, H_ACK, fin * i, i + 1);

			p.from_port = (uint16_t)(1024 + i);
			p.flags |= fin ? H_FIN : 0;
			p.number += fin;	/* right after the first */
			log_packet(&stage, &p);
		}
	shutdown(stage.log[0], SHUT_WR);
	CHECK_EQ(zclab_respond(stage.log[1], stage.tun[1], &usual, &inbox, &o.n,
			       o.tallies, PORTS), 0);
	CHECK_EQ(o.n.flows_most, FLOWS);
	CHECK_EQ(o.n.fins, FLOWS);
	CHECK_EQ(o.n.bytes, 2ull * FLOWS * (FLOWS + 1) / 2);
	CHECK_EQ(o.n.gaps, 0);
	while (recv(stage.tun[0], bytes, sizeof(bytes), 0) > 0)
		;
	close_stage(&stage);
}

/* Each beginning of a packet that is too short to be one is counted, not answered. */
static void test_torn_headers(void)
{
	int version;

	for (version = 4; version <= 6; version += 2) {
		struct packet p = packet_of(version, H_SYN, (uint32_t)-1, 0);
		struct stage stage = open_stage();
		uint8_t bytes[PACKET_MAX];
		struct outcome o;
		size_t size, i;

		p.options = usual_options;
		p.option_bytes = sizeof(usual_options);
		size = lay_packet(&p, bytes);
		for (i = 0; i < size; i++)
			log_bytes(&stage, bytes, i);
		o = respond(&stage, &usual);
		CHECK_EQ(o.n.unreadable, size);
		CHECK_EQ(o.n.messages, size);
		CHECK_EQ(o.count, 0);
	}
}

static void test_headers_that_make_no_sense(void)
{
	static const struct {
		unsigned int at;
		uint8_t value;
		bool other;
	} cases[] = {
		{ 0, 0x55, false },	/* IP version 5 */
		{ 0, 0x44, false },	/* a header shorter than there is */
		{ 0, 0x4f, false },	/* longer than the packet */
		{ 3, 30, false },	/* a packet shorter than its headers */
		{ 6, 0x20, false },	/* a fragment */
		{ 9, 17, true },	/* UDP */
		{ 32, 0x40, false },	/* a TCP header shorter than there is */
		{ 32, 0xf0, false },	/* longer than the packet */
		{ 41, 1, false },	/* an option of one byte */
		{ 41, 200, false },	/* longer than the header */
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct packet p = packet_of(4, H_SYN, (uint32_t)-1, 0);
		struct stage stage = open_stage();
		uint8_t bytes[PACKET_MAX];
		struct outcome o;
		size_t size;

		p.options = usual_options;
		p.option_bytes = sizeof(usual_options);
		size = lay_packet(&p, bytes);
		bytes[cases[i].at] = cases[i].value;
		log_bytes(&stage, bytes, size);
		o = respond(&stage, &usual);
		CHECK_EQ(o.n.others, cases[i].other);
		CHECK_EQ(o.n.unreadable, !cases[i].other);
		CHECK_EQ(o.count, 0);
	}
}

/* A packet of more than 64 KiB has 0 for its length: nobody can know its payload. */
static void test_packets_without_a_length(void)
{
	int version;

	for (version = 4; version <= 6; version += 2) {
		struct packet p = packet_of(version, H_ACK, 0, 100);
		struct stage stage = open_stage();
		uint8_t bytes[PACKET_MAX];
		struct outcome o;
		size_t size;

		log_syn(&stage, version);
		size = lay_packet(&p, bytes);
		h16(bytes + (version == 4 ? 2 : 4), 0);
		log_bytes(&stage, bytes, size);
		o = respond(&stage, &usual);
		CHECK_EQ(o.n.oversized, 1);
		CHECK_EQ(o.n.bytes, 0);
		CHECK_EQ(o.count, 1);
	}
}

/* Messages of several packets, of other kinds, with lengths that are not so. */
static void test_messages(void)
{
	struct packet syn = packet_of(4, H_SYN, (uint32_t)-1, 0);
	struct packet data = packet_of(4, H_ACK, 0, 500);
	struct stage stage = open_stage();
	uint8_t packet[PACKET_MAX], bytes[1024] = { 0 };
	struct nlmsghdr head = { .nlmsg_len = 16, .nlmsg_type = NLMSG_DONE };
	struct outcome o;
	size_t size, one;

	one = lay_packet(&syn, packet);
	size = lay_message(bytes, packet, one, 0);
	one = lay_packet(&data, packet);
	size += lay_message(bytes + size, packet, one, 1);
	memcpy(bytes + size, &head, sizeof(head));
	must((int)send(stage.log[0], bytes, size + 16, 0), "send");
	head.nlmsg_type = 1234;
	must((int)send(stage.log[0], &head, 16, 0), "send");
	head.nlmsg_len = 17;			/* more than there is */
	must((int)send(stage.log[0], &head, 16, 0), "send");
	must((int)send(stage.log[0], &head, 3, 0), "send");
	head.nlmsg_len = 16;			/* without all that it must have */
	head.nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET;
	must((int)send(stage.log[0], &head, 16, 0), "send");
	stage.sequence = 5;			/* 2, 3 and 4 are missing */
	log_data(&stage, 4, 500, 10);
	o = respond(&stage, &usual);
	CHECK_EQ(o.n.messages, 4);
	CHECK_EQ(o.n.bytes, 510);
	CHECK_EQ(o.n.unreadable, 3);
	CHECK_EQ(o.n.lost, 3);
}

static void test_withheld_segments_are_gaps(void)
{
	struct zclab_reply reply = usual;
	struct stage stage = open_stage();
	struct outcome o;
	uint32_t i, round;

	reply.withhold = 5;
	log_syn(&stage, 4);
	for (round = 0; round < 12; round++)	/* until each came through */
		for (i = 0; i < 100; i++)
			log_data(&stage, 4, i * 100, 100);
	o = respond(&stage, &reply);
	CHECK(o.n.withheld > 100);
	CHECK(o.n.gaps > 0);
	CHECK_EQ(o.n.segments + o.n.withheld, 1200);
	CHECK_EQ(o.n.bytes, 10000);
}

/* An answer for which there is no room is given when there is. */
static void test_a_full_tun_device(void)
{
	struct zclab_reply reply = usual;
	struct stage stage = open_stage();
	struct outcome o;
	int small = 1;
	uint32_t i;

	setsockopt(stage.tun[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	log_syn(&stage, 4);
	for (i = 0; i < 200; i++)
		log_data(&stage, 4, i * 100, 100);
	o = respond(&stage, &reply);
	CHECK(o.n.unwritten > 0);
	CHECK(o.n.acks < 200);
	CHECK_EQ(o.n.bytes, 20000);
	for (i = 1; i < o.count; i++)		/* and never a wrong one */
		CHECK_EQ((o.answers[i].acknowledged - ISN - 1) % 100, 0);
}

static void test_stop(void)
{
	struct stage stage = open_stage();
	struct zclab_inbox inbox = { .stop = 1 };
	struct zclab_replies n = { 0 };

	CHECK_EQ(zclab_respond(stage.log[1], stage.tun[1], &usual, &inbox, &n, NULL, 0),
		 0);
	close_stage(&stage);
	inbox.stop = 0;
	CHECK_EQ(zclab_respond(-1, -1, &usual, &inbox, &n, NULL, 0), -EBADF);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "handshake", test_handshake },
	{ "bare_handshake", test_bare_handshake },
	{ "options_of_ones_own", test_options_of_ones_own },
	{ "every_nth_segment", test_every_nth_segment_is_acknowledged },
	{ "an_ack_may_wait", test_an_ack_may_wait },
	{ "a_gap", test_a_gap_is_not_acknowledged },
	{ "many_gaps", test_many_gaps },
	{ "beyond_the_window", test_nothing_beyond_the_window },
	{ "close", test_close },
	{ "reset", test_reset },
	{ "strangers", test_strangers_are_refused },
	{ "new_connection", test_a_new_connection_replaces_the_old },
	{ "many_flows", test_many_flows },
	{ "torn_headers", test_torn_headers },
	{ "headers_that_make_no_sense", test_headers_that_make_no_sense },
	{ "packets_without_a_length", test_packets_without_a_length },
	{ "messages", test_messages },
	{ "withheld", test_withheld_segments_are_gaps },
	{ "full_tun", test_a_full_tun_device },
	{ "stop", test_stop },
};

int main(int argc, char **argv)
{
	const char *wanted = argc > 1 ? argv[1] : "";
	unsigned int ran = 0, fds = count_fds();
	size_t i;

	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		unsigned int before = failed_checks;

		if (!strstr(tests[i].name, wanted))
			continue;
		doing = tests[i].name;
		tests[i].run();
		CHECK_EQ(count_fds(), fds);
		printf("%-6s  %s\n", failed_checks == before ? "ok" : "FAILED", doing);
		ran++;
	}
	printf("respond: %u cases, %u failed checks\n", ran, failed_checks);
	return failed_checks || !ran;
}
