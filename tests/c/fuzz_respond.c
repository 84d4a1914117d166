// SPDX-License-Identifier: MIT
/*
 * The input becomes log messages for the responder: of sound packets, of packets with
 * bytes turned over, and of anything. It must not crash, must answer in sound packets
 * only, and must never acknowledge what a second, plainer look did not find in the log.
 */
#define _GNU_SOURCE
#include "fuzz.h"
#include "headers.h"

#define MESSAGES 256u
#define FLOWS 3u
#define REACH 16384u	/* numbers of one flow, from its first on */
#define PORTS 2u
#define FIRST_PORT 8000

/* What was logged of a flow; of sound packets alone. */
struct look {
	bool open;
	uint32_t isn;
	uint8_t seen[REACH];
};

static struct look looks[FLOWS];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static struct packet packet_of(unsigned int flow)
{
	return (struct packet){ .version = flow == 2 ? 6 : 4,
				.from_port = (uint16_t)(40000 + flow),
				.to_port = (uint16_t)(FIRST_PORT + flow) };
}

static void open_flow(struct stage *stage, struct input *in, unsigned int flow)
{
	struct packet p = packet_of(flow);
	struct look *look = &looks[flow];

	if (!look->open)
		look->isn = (uint32_t)number(in, 4);
	look->open = true;
	p.flags = H_SYN;
	p.number = look->isn;
	p.options = usual_options;
	p.option_bytes = one_in(in, 4) ? 0 : sizeof(usual_options);
	log_packet(stage, &p);
}

static void send_data(struct stage *stage, struct input *in, unsigned int flow)
{
	struct packet p = packet_of(flow);
	struct look *look = &looks[flow];
	uint32_t at = (uint32_t)number(in, 2) % (REACH / 2);

	p.flags = H_ACK;
	p.payload = (uint32_t)number(in, 2) % (REACH / 2);
	p.number = look->isn + 1 + at;
	if (one_in(in, 16) && flow == 0) {
		p.flags |= H_FIN;
		look->seen[at + p.payload] = 1;
	}
	memset(look->seen + at, 1, p.payload);
	log_packet(stage, &p);
}

/* Something that is nearly a packet or a message; true: all bets are off. */
static bool disturb(struct stage *stage, struct input *in, unsigned int flow)
{
	struct packet p = packet_of(flow);
	uint8_t bytes[LOG_MAX], message[LOG_MAX];
	size_t size, i;

	p.flags = (uint8_t)number(in, 1);
	p.number = looks[flow].isn + (uint32_t)number(in, 2);
	p.payload = (uint32_t)number(in, 1);
	p.options = usual_options;
	p.option_bytes = sizeof(usual_options);
	size = lay_packet(&p, bytes);
	for (i = number(in, 1) % 4; i; i--)
		bytes[number(in, 1) % size] = (uint8_t)number(in, 1);
	if (one_in(in, 4))
		size = number(in, 1) % size;
	size = lay_message(message, bytes, size, (uint32_t)number(in, 4));
	for (i = number(in, 1) % 4; i; i--)
		message[number(in, 1) % size] = (uint8_t)number(in, 1);
	if (one_in(in, 4))
		size = 1 + number(in, 1) % size;
	must((int)send(stage->log[0], message, size, 0), "send");
	return true;
}

static bool raw(struct stage *stage, struct input *in)
{
	size_t size = 1 + number(in, 1) % 128;

	if (size > in->left)
		size = in->left;
	if (size)
		must((int)send(stage->log[0], in->at, size, 0), "send");
	in->at += size;
	in->left -= size;
	return true;
}

/* What has been acknowledged was in the log, all of it. */
static void look_at(const struct answer *a)
{
	unsigned int flow = a->from_port - FIRST_PORT;
	uint32_t count, i;

	HOLDS(flow < FLOWS && a->to_port == 40000 + flow);
	HOLDS(a->version == (flow == 2 ? 6 : 4));
	if (a->flags & H_RST)
		return;
	HOLDS(looks[flow].open && a->flags & H_ACK);
	count = a->acknowledged - looks[flow].isn - 1;
	HOLDS(count < REACH);
	HOLDS(!(a->flags & H_SYN) || !count);
	for (i = 0; i < count; i++)
		HOLDS(looks[flow].seen[i]);
	for (i = 0; i < a->sacked; i++) {
		uint32_t from = a->range[i].from - looks[flow].isn - 1;
		uint32_t to = a->range[i].to - looks[flow].isn - 1, k;

		/* The first may be of what came twice. */
		HOLDS((count < from || !i) && from < to && to < REACH);
		for (k = from; k < to; k++)
			HOLDS(looks[flow].seen[k]);
	}
}

static void compare(const struct zclab_tally *tallies, const struct zclab_replies *n)
{
	unsigned int flow;

	HOLDS(!n->unreadable && !n->oversized && !n->others && !n->lost);
	for (flow = 1; flow < FLOWS && flow < PORTS; flow++) {
		uint32_t count = 0;

		if (!looks[flow].open)
			continue;
		while (count < REACH && looks[flow].seen[count])
			count++;
		HOLDS(tallies[flow].bytes <= count);
		if (!n->crowded && !n->withheld && !n->beyond)
			HOLDS(tallies[flow].bytes == count);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct stage stage = open_stage();
	struct zclab_inbox inbox = { 0 };
	struct zclab_replies n = { 0 };
	struct zclab_tally tallies[PORTS] = { { 0 } };
	struct zclab_reply reply = { .first_port = FIRST_PORT, .seed = 1 };
	bool sound = !one_in(&in, 2), disturbed = false;
	uint8_t bytes[256];
	struct answer answer;
	unsigned int i;
	ssize_t got;

	memset(looks, 0, sizeof(looks));
	reply.sack = one_in(&in, 4) ? 0 : 1;
	reply.timestamps = one_in(&in, 2);
	reply.ack_every = (unsigned int)number(&in, 1) % 4;
	reply.ack_delay_ns = one_in(&in, 4) ? 1000000 : 0;
	reply.window_bytes = number(&in, 3);
	reply.withhold = one_in(&in, 8) ? 3 : 0;
	reply.mss = (unsigned int)number(&in, 2);
	for (i = 0; i < MESSAGES && in.left; i++) {
		unsigned int what = (unsigned int)number(&in, 1), flow = what % FLOWS;

		if (!looks[flow].open)
			open_flow(&stage, &in, flow);
		else if (!sound && what >= 200)
			disturbed |= what >= 240 ? raw(&stage, &in) :
						   disturb(&stage, &in, flow);
		else if (what < 8)
			open_flow(&stage, &in, flow);
		else
			send_data(&stage, &in, flow);
	}
	shutdown(stage.log[0], SHUT_WR);
	HOLDS(zclab_respond(stage.log[1], stage.tun[1], &reply, &inbox, &n, tallies,
			    PORTS) == 0);
	HOLDS(!n.flows && n.acks >= n.repeated_acks);
	while ((got = recv(stage.tun[0], bytes, sizeof(bytes), 0)) > 0) {
		HOLDS(read_answer(bytes, (size_t)got, &answer));
		if (!disturbed)
			look_at(&answer);
	}
	if (!disturbed)
		compare(tallies, &n);
	close_stage(&stage);
	return 0;
}
