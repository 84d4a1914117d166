// SPDX-License-Identifier: MIT
/*
 * The responder: plays the receiver's side of TCP for a device that drops all data.
 * It reads the headers of what is sent and acknowledges what it read (RFC 9293, 2018,
 * 7323), so that a connection goes on without anybody who takes the data.
 */
#define _GNU_SOURCE /* recvmmsg, ppoll */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ring.h"

#define BATCH 64		/* messages of one read */
#define MESSAGE_BYTES 2048	/* more than the headers that the rule logs */
#define BUCKETS 4096u		/* of the table of flows; a power of two */
#define FLOWS_MAX 65536u
#define RANGES 32u		/* remembered behind gaps, of one flow */
#define WAIT_NS 50000000ull	/* *stop is looked at so often */
#define USAGE_NS 1000000ull	/* and usage told so often while busy */
#define RETRY_NS 1000000ull	/* after an answer that could not be written */
#define SCALE_MOST 14u		/* RFC 7323, 2.3 */
#define PACKET_MOST 65535u
/*
 * Linux sends at least two segments as one packet where it can (tcp_min_tso_segs), and
 * a packet of more than 64 KiB has no length in its header (iph_set_totlen). Such a
 * one could not be acknowledged: so two segments and their headers are to fit.
 */
#define MSS_MOST ((PACKET_MOST - 20 - 60) / 2)
#define ANSWER_BYTES (40 + 60)	/* IPv6, and TCP with all the options there can be */

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

enum {
	OPTION_END,
	OPTION_NOP,
	OPTION_MSS,
	OPTION_SCALE,
	OPTION_SACK_PERMITTED,
	OPTION_SACK,
	OPTION_TIMESTAMPS = 8,
};

/* Both ends of a connection, as the sender sees them, in network order. */
struct ends {
	uint8_t from[16], to[16];
	uint16_t from_port, to_port;
	uint32_t version;		/* IP's: 4 or 6 */
};

/* What the headers of one packet say. */
struct segment {
	struct ends ends;
	uint32_t number, acknowledged;
	uint32_t payload;		/* bytes; a large one is cut later, or never */
	uint8_t flags;
	bool scale, sack, timestamps;	/* options that are there */
	uint32_t timestamp;
};

struct range {
	uint32_t from, to;
};

struct flow {
	struct ends ends;
	struct flow *next;		/* in its bucket */
	struct flow *before, *after;	/* among those that an ACK is due to */
	bool due;
	bool sack, timestamps, scaled;
	bool fin_known, closed;
	unsigned int pending;		/* segments since the last ACK */
	uint64_t due_ns;
	uint32_t first;			/* number of the SYN */
	uint32_t expected;		/* all before it was seen */
	uint32_t told;			/* last acknowledged */
	uint32_t own;			/* number of the next byte of ours */
	uint32_t fin;			/* number of the sender's FIN */
	uint32_t timestamp;		/* to be echoed */
	unsigned int ranges;		/* behind gaps, in order */
	unsigned int latest;		/* of them */
	struct range range[RANGES];
	struct range again;		/* of a segment that had been seen; or empty */
	struct zclab_tally *tally;	/* or null */
};

struct responder {
	int log, tun;
	const struct zclab_reply *reply;
	struct zclab_inbox *inbox;
	struct zclab_replies *n;
	struct zclab_tally *tallies;
	unsigned int count;
	uint64_t draw, now_ns;
	unsigned int scale;
	uint32_t sequence;		/* of the last message of the log */
	bool sequenced;			/* there was one */
	struct flow *due;		/* ring of the flows that an ACK is due to */
	struct flow *buckets[BUCKETS];
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	uint8_t bytes[BATCH][MESSAGE_BYTES] __attribute__((aligned(8)));
};

static bool before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

/* ---- reading ---------------------------------------------------------------- */

/* Options of a TCP header; false when they make no sense. */
static bool read_options(const uint8_t *at, size_t left, struct segment *s)
{
	while (left) {
		unsigned int kind = at[0], size;

		if (kind == OPTION_END)
			return true;
		if (kind == OPTION_NOP) {
			at++;
			left--;
			continue;
		}
		if (left < 2 || at[1] < 2 || at[1] > left)
			return false;
		size = at[1];
		s->scale |= kind == OPTION_SCALE && size == 3;
		s->sack |= kind == OPTION_SACK_PERMITTED && size == 2;
		if (kind == OPTION_TIMESTAMPS && size == 10) {
			s->timestamps = true;
			s->timestamp = get32(at + 2);
		}
		at += size;
		left -= size;
	}
	return true;
}

/* TCP of `whole` bytes, of which the first `got` are there. */
static bool read_tcp(const uint8_t *at, size_t got, size_t whole, struct segment *s)
{
	size_t header;

	if (got < 20)
		return false;
	header = (size_t)(at[12] >> 4) * 4;
	if (header < 20 || header > whole || header > got)
		return false;
	memcpy(&s->ends.from_port, at, 2);
	memcpy(&s->ends.to_port, at + 2, 2);
	s->number = get32(at + 4);
	s->acknowledged = get32(at + 8);
	s->flags = at[13];
	s->payload = (uint32_t)(whole - header);
	return read_options(at + 20, header - 20, s);
}

enum { READ_TCP, READ_OTHER, READ_OVERSIZED, READ_NONSENSE };

/* The headers of an IP packet, of which the first `got` bytes are there. */
static int read_packet(const uint8_t *at, size_t got, struct segment *s)
{
	size_t header, whole;

	memset(s, 0, sizeof(*s));
	if (got < 20)
		return READ_NONSENSE;
	s->ends.version = at[0] >> 4;
	if (s->ends.version == 4) {
		header = (size_t)(at[0] & 15) * 4;
		whole = get16(at + 2);
		if (!whole)
			return READ_OVERSIZED;
		if (header < 20 || header > got || header > whole)
			return READ_NONSENSE;
		if (at[9] != IPPROTO_TCP)
			return READ_OTHER;
		if (get16(at + 6) & 0x3fff)	/* a fragment; TCP makes none */
			return READ_NONSENSE;
		memcpy(s->ends.from, at + 12, 4);
		memcpy(s->ends.to, at + 16, 4);
	} else if (s->ends.version == 6) {
		header = 40;
		if (got < header)
			return READ_NONSENSE;
		whole = header + get16(at + 4);
		if (whole == header)
			return READ_OVERSIZED;
		if (at[6] != IPPROTO_TCP)	/* nor has it other headers here */
			return READ_OTHER;
		memcpy(s->ends.from, at + 8, 16);
		memcpy(s->ends.to, at + 24, 16);
	} else {
		return READ_NONSENSE;
	}
	if (!read_tcp(at + header, got - header, whole - header, s))
		return READ_NONSENSE;
	return READ_TCP;
}

/* ---- writing ---------------------------------------------------------------- */

static uint32_t sum(const uint8_t *at, size_t size, uint32_t so_far)
{
	for (; size > 1; size -= 2, at += 2)
		so_far += get16(at);
	return size ? so_far + (uint32_t)(at[0] << 8) : so_far;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Puts an IP header before `size` bytes of TCP; returns its size. */
static size_t put_ip(uint8_t *packet, const struct ends *to, size_t size)
{
	if (to->version == 4) {
		memset(packet, 0, 20);
		packet[0] = 0x45;
		put16(packet + 2, (uint32_t)(20 + size));
		packet[6] = 0x40;		/* not to be fragmented */
		packet[8] = 64;			/* hops */
		packet[9] = IPPROTO_TCP;
		memcpy(packet + 12, to->to, 4);
		memcpy(packet + 16, to->from, 4);
		put16(packet + 10, folded(sum(packet, 20, 0)));
		return 20;
	}
	memset(packet, 0, 40);
	packet[0] = 0x60;
	put16(packet + 4, (uint32_t)size);
	packet[6] = IPPROTO_TCP;
	packet[7] = 64;
	memcpy(packet + 8, to->to, 16);
	memcpy(packet + 24, to->from, 16);
	return 40;
}

static size_t put_timestamps(const struct responder *r, const struct flow *flow,
			     uint8_t *at)
{
	put16(at, OPTION_NOP << 8 | OPTION_NOP);
	at[2] = OPTION_TIMESTAMPS;
	at[3] = 10;
	put32(at + 4, (uint32_t)(r->now_ns / 1000000u));
	put32(at + 8, flow->timestamp);
	return 12;
}

/*
 * What came twice (RFC 2883: so that the sender does not take it for a loss), and the
 * ranges behind gaps, the latest first, as RFC 2018 asks; three or four fit.
 */
static size_t put_sack(const struct flow *flow, uint8_t *at)
{
	unsigned int most = flow->timestamps ? 3 : 4, i, put = 0;
	const struct range *range = &flow->again;

	if (!flow->sack)
		return 0;
	for (i = 0; i <= flow->ranges && put < most; i++) {
		if (range->from != range->to) {
			put32(at + 4 + 8 * put, range->from);
			put32(at + 8 + 8 * put, range->to);
			put++;
		}
		if (i < flow->ranges)
			range = &flow->range[(flow->latest + i) % flow->ranges];
	}
	if (!put)
		return 0;
	put16(at, OPTION_NOP << 8 | OPTION_NOP);
	at[2] = OPTION_SACK;
	at[3] = (uint8_t)(2 + 8 * put);
	return 4 + 8 * put;
}

static size_t put_hello(const struct responder *r, const struct flow *flow, uint8_t *at)
{
	unsigned int mss = r->reply->mss ? r->reply->mss : MSS_MOST;
	size_t size = 4;

	at[0] = OPTION_MSS;
	at[1] = 4;
	put16(at + 2, mss);
	if (flow->sack) {
		put16(at + size, OPTION_NOP << 8 | OPTION_NOP);
		put16(at + size + 2, OPTION_SACK_PERMITTED << 8 | 2);
		size += 4;
	}
	if (flow->scaled) {
		put32(at + size, (uint32_t)OPTION_NOP << 24 | OPTION_SCALE << 16 |
					 3 << 8 | r->scale);
		size += 4;
	}
	return size;
}

static uint32_t window(const struct responder *r, const struct flow *flow, uint8_t flags)
{
	uint64_t bytes = r->reply->window_bytes;

	if (flow->scaled && !(flags & SYN))
		bytes >>= r->scale;
	return bytes < 65535 ? (uint32_t)bytes : 65535;
}

/* Writes a TCP header with all that is known of the flow; false when it could not. */
static bool write_segment(struct responder *r, const struct ends *to, uint8_t flags,
			  uint32_t number, uint32_t acknowledged,
			  const struct flow *flow)
{
	uint8_t packet[ANSWER_BYTES], *tcp = packet + (to->version == 4 ? 20 : 40);
	size_t size = 20, header;
	uint32_t pseudo;

	memset(tcp, 0, 20);
	memcpy(tcp, &to->to_port, 2);
	memcpy(tcp + 2, &to->from_port, 2);
	put32(tcp + 4, number);
	put32(tcp + 8, acknowledged);
	tcp[13] = flags;
	if (flow) {
		put16(tcp + 14, window(r, flow, flags));
		if (flags & SYN)
			size += put_hello(r, flow, tcp + size);
		if (flow->timestamps)
			size += put_timestamps(r, flow, tcp + size);
		if (!(flags & SYN))
			size += put_sack(flow, tcp + size);
	}
	tcp[12] = (uint8_t)(size / 4 << 4);
	header = put_ip(packet, to, size);
	pseudo = to->version == 4 ? sum(packet + 12, 8, 0) : sum(packet + 8, 32, 0);
	put16(tcp + 16, folded(sum(tcp, size, pseudo + IPPROTO_TCP + (uint32_t)size)));
	if (write(r->tun, packet, header + size) == (ssize_t)(header + size))
		return true;
	r->n->unwritten++;
	return false;
}

/* ---- flows ------------------------------------------------------------------- */

static struct flow **bucket(struct responder *r, const struct ends *ends)
{
	uint32_t hash = 2166136261u;		/* FNV-1a */
	const uint8_t *at = (const uint8_t *)ends;
	size_t i;

	for (i = 0; i < sizeof(*ends); i++)
		hash = (hash ^ at[i]) * 16777619u;
	return &r->buckets[(hash ^ hash >> 16) & (BUCKETS - 1)];
}

static struct flow *find(struct responder *r, const struct ends *ends)
{
	struct flow *flow = *bucket(r, ends);

	while (flow && memcmp(&flow->ends, ends, sizeof(*ends)))
		flow = flow->next;
	return flow;
}

static void settle(struct responder *r, struct flow *flow)
{
	flow->pending = 0;
	if (!flow->due)
		return;
	flow->due = false;
	flow->before->after = flow->after;
	flow->after->before = flow->before;
	if (r->due == flow)
		r->due = flow->after == flow ? NULL : flow->after;
}

/* An ACK is due to the flow, at `due_ns`. */
static void owe(struct responder *r, struct flow *flow, uint64_t due_ns)
{
	if (flow->due) {
		if (due_ns < flow->due_ns)
			flow->due_ns = due_ns;
		return;
	}
	flow->due = true;
	flow->due_ns = due_ns;
	if (!r->due) {
		r->due = flow->before = flow->after = flow;
		return;
	}
	flow->after = r->due;
	flow->before = r->due->before;
	flow->before->after = flow;
	r->due->before = flow;
}

static void forget(struct responder *r, struct flow *flow)
{
	struct flow **at = bucket(r, &flow->ends);

	while (*at != flow)
		at = &(*at)->next;
	*at = flow->next;
	settle(r, flow);
	free(flow);
	r->n->flows--;
}

/* ---- answering --------------------------------------------------------------- */

static void acknowledge(struct responder *r, struct flow *flow)
{
	uint8_t flags = flow->closed ? FIN | ACK : ACK;

	if (!write_segment(r, &flow->ends, flags, flow->own, flow->expected, flow)) {
		owe(r, flow, r->now_ns + RETRY_NS);
		return;
	}
	r->n->acks++;
	r->n->repeated_acks += flow->told == flow->expected;
	flow->told = flow->expected;
	flow->again = (struct range){ 0, 0 };
	settle(r, flow);
}

static void refuse(struct responder *r, const struct segment *s)
{
	uint32_t length = s->payload + !!(s->flags & SYN) + !!(s->flags & FIN);

	if (s->flags & RST)
		return;
	r->n->refusals++;
	/* RFC 9293, 3.10.7.1 */
	if (s->flags & ACK)
		write_segment(r, &s->ends, RST, s->acknowledged, 0, NULL);
	else
		write_segment(r, &s->ends, RST | ACK, 0, s->number + length, NULL);
}

static void greet(struct responder *r, struct flow *flow)
{
	if (!write_segment(r, &flow->ends, SYN | ACK, flow->own - 1, flow->expected, flow))
		return;			/* the SYN will come again */
	flow->told = flow->expected;
}

static void open_flow(struct responder *r, const struct segment *s)
{
	unsigned int port = ntohs(s->ends.to_port) - r->reply->first_port;
	struct flow *flow = find(r, &s->ends), **at;

	if (flow && flow->first == s->number) {		/* it came again */
		if (flow->expected == s->number + 1)
			greet(r, flow);
		else
			acknowledge(r, flow);
		return;
	}
	if (flow)
		forget(r, flow);
	flow = r->n->flows < FLOWS_MAX ? calloc(1, sizeof(*flow)) : NULL;
	if (!flow) {
		refuse(r, s);
		return;
	}
	flow->ends = s->ends;
	flow->first = s->number;
	flow->expected = s->number + 1;
	flow->own = (uint32_t)(r->now_ns >> 6) + 1;	/* RFC 9293, 3.4.1 */
	flow->scaled = s->scale;
	flow->sack = s->sack && r->reply->sack;
	flow->timestamps = s->timestamps && r->reply->timestamps;
	flow->timestamp = s->timestamp;
	flow->tally = port < r->count ? &r->tallies[port] : NULL;
	at = bucket(r, &s->ends);
	flow->next = *at;
	*at = flow;
	r->n->syns++;
	r->n->flows++;
	if (r->n->flows > r->n->flows_most)
		r->n->flows_most = r->n->flows;
	if (flow->tally)
		flow->tally->accepted++;
	greet(r, flow);
}

/* Remembers what came behind a gap; false when there is no room for it. */
static bool remember(struct flow *flow, uint32_t from, uint32_t to)
{
	struct range *range = flow->range;
	unsigned int first = 0, last;

	while (first < flow->ranges && before(range[first].to, from))
		first++;
	for (last = first; last < flow->ranges && !before(to, range[last].from); last++) {
		if (before(range[last].from, from))
			from = range[last].from;
		if (before(to, range[last].to))
			to = range[last].to;
	}
	if (last == first && flow->ranges == RANGES)
		return false;
	/* those from first up to last are one with it */
	memmove(&range[first + 1], &range[last], (flow->ranges - last) * sizeof(*range));
	flow->ranges += 1 - (last - first);
	range[first] = (struct range){ from, to };
	flow->latest = first;
	return true;
}

/* All up to `to` was seen, and with it what is remembered right behind it. */
static void advance(struct responder *r, struct flow *flow, uint32_t to)
{
	unsigned int gone = 0;
	uint32_t bytes;

	while (gone < flow->ranges && !before(to, flow->range[gone].from)) {
		if (before(to, flow->range[gone].to))
			to = flow->range[gone].to;
		gone++;
	}
	flow->ranges -= gone;
	memmove(flow->range, flow->range + gone, flow->ranges * sizeof(*flow->range));
	flow->latest = flow->latest > gone ? flow->latest - gone : 0;
	bytes = to - flow->expected;
	flow->expected = to;
	r->n->bytes += bytes;
	if (flow->tally)
		__atomic_store_n(&flow->tally->bytes, flow->tally->bytes + bytes,
				 __ATOMIC_RELEASE);
}

/* Takes the payload; true when an ACK should go out at once. */
static bool take_payload(struct responder *r, struct flow *flow, const struct segment *s)
{
	uint32_t end = s->number + s->payload;
	bool gap = before(flow->expected, s->number), filled = flow->ranges > 0;

	r->n->segments++;
	if (s->payload > r->n->largest)
		r->n->largest = s->payload;
	if (flow->tally)
		flow->tally->received++;
	if (!before(flow->expected, end)) {
		r->n->repeated++;
		flow->again = (struct range){ s->number, end };
		return true;
	}
	if (end - flow->expected > r->reply->window_bytes + PACKET_MOST ||
	    (flow->fin_known && before(flow->fin, end))) {
		r->n->beyond++;
		return true;
	}
	if (!gap) {
		advance(r, flow, end);
		return filled;
	}
	r->n->gaps++;
	if (flow->tally)
		flow->tally->disordered++;
	if (!remember(flow, s->number, end))
		r->n->crowded++;
	return true;
}

static void take_fin(struct responder *r, struct flow *flow)
{
	if (!flow->fin_known || flow->closed || flow->expected != flow->fin)
		return;
	flow->closed = true;
	flow->expected++;
	r->n->fins++;
	if (flow->tally)
		flow->tally->closed++;
}

/* Whether one of what may be planted befalls this segment. */
static bool withhold(struct responder *r)
{
	if (!r->reply->withhold)
		return false;
	r->draw ^= r->draw << 13;		/* xorshift64 */
	r->draw ^= r->draw >> 7;
	r->draw ^= r->draw << 17;
	if ((r->draw >> 11) % r->reply->withhold)
		return false;
	r->n->withheld++;
	return true;
}

static void take_segment(struct responder *r, const struct segment *s)
{
	struct flow *flow;
	bool now;

	if ((s->flags & (SYN | ACK | RST | FIN)) == SYN) {
		open_flow(r, s);
		return;
	}
	flow = find(r, &s->ends);
	if (!flow) {
		refuse(r, s);
		return;
	}
	if (s->flags & RST) {
		/* RFC 9293, 3.10.7.4: within the window */
		if (s->number - flow->told > r->reply->window_bytes + PACKET_MOST)
			return;
		r->n->resets++;
		forget(r, flow);
		return;
	}
	if (!(s->flags & ACK) || s->flags & SYN)
		return;
	if (flow->closed && s->acknowledged == flow->own + 1) {
		forget(r, flow);
		return;
	}
	if (s->payload && withhold(r))
		return;
	if (s->timestamps && !before(flow->told, s->number))
		flow->timestamp = s->timestamp;
	now = s->payload && take_payload(r, flow, s);
	if (s->flags & FIN && !flow->fin_known &&
	    s->number + s->payload - flow->expected <= r->reply->window_bytes) {
		flow->fin_known = true;
		flow->fin = s->number + s->payload;
	}
	take_fin(r, flow);
	if (!s->payload && !(s->flags & FIN) && s->number == flow->expected)
		return;			/* an ACK of ours, or of nothing */
	if (now || !s->payload || ++flow->pending >= r->reply->ack_every)
		acknowledge(r, flow);
	else
		owe(r, flow, r->now_ns + r->reply->ack_delay_ns);
}

/* Gives their ACKs to those whose time has come; returns when the next one is due. */
static uint64_t give(struct responder *r, uint64_t until_ns)
{
	struct flow *flow = r->due, *last = flow ? flow->before : NULL, *next;
	uint64_t soonest = UINT64_MAX;

	while (flow) {
		next = flow == last ? NULL : flow->after;
		if (flow->due_ns <= until_ns)
			acknowledge(r, flow);
		if (flow->due && flow->due_ns < soonest)
			soonest = flow->due_ns;
		flow = next;
	}
	return soonest;
}

/* ---- the log ----------------------------------------------------------------- */

/* Numbers of the log's messages have no hole, unless some could not be given out. */
static void count_lost(struct responder *r, uint32_t sequence)
{
	uint32_t missing = sequence - r->sequence - 1;

	if (r->sequenced && missing < UINT32_MAX / 2)
		r->n->lost += missing;
	r->sequence = sequence;
	r->sequenced = true;
}

static void take_packet(struct responder *r, const uint8_t *at, size_t got)
{
	struct segment segment;

	switch (read_packet(at, got, &segment)) {
	case READ_TCP:
		take_segment(r, &segment);
		break;
	case READ_OTHER:
		r->n->others++;
		break;
	case READ_OVERSIZED:
		r->n->oversized++;
		break;
	default:
		r->n->unreadable++;
	}
}

/* One packet's attributes: which lengths are given by who wrote them. */
static void take_attributes(struct responder *r, const uint8_t *at, size_t left)
{
	const uint8_t *payload = NULL;
	size_t payload_bytes = 0;
	struct nlattr head;

	while (left >= sizeof(head)) {
		size_t step;

		memcpy(&head, at, sizeof(head));
		if (head.nla_len < sizeof(head) || head.nla_len > left)
			break;
		if ((head.nla_type & NLA_TYPE_MASK) == NFULA_PAYLOAD) {
			payload = at + sizeof(head);
			payload_bytes = head.nla_len - sizeof(head);
		} else if ((head.nla_type & NLA_TYPE_MASK) == NFULA_SEQ &&
			   head.nla_len == sizeof(head) + 4) {
			count_lost(r, get32(at + sizeof(head)));
		}
		step = NLA_ALIGN(head.nla_len);
		if (step > left)
			break;
		at += step;
		left -= step;
	}
	if (payload)
		take_packet(r, payload, payload_bytes);
	else
		r->n->unreadable++;
}

/* What one read gave: one message or several. */
static void take_messages(struct responder *r, const uint8_t *at, size_t left)
{
	const size_t heads = NLMSG_HDRLEN + sizeof(struct nfgenmsg);
	struct nlmsghdr head;

	while (left >= NLMSG_HDRLEN) {
		size_t step;

		memcpy(&head, at, sizeof(head));
		if (head.nlmsg_len < NLMSG_HDRLEN || head.nlmsg_len > left) {
			r->n->unreadable++;
			return;
		}
		if (head.nlmsg_type == (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET)) {
			r->n->messages++;
			if (head.nlmsg_len >= heads)
				take_attributes(r, at + heads, head.nlmsg_len - heads);
			else
				r->n->unreadable++;
		} else if (head.nlmsg_type != NLMSG_DONE &&
			   head.nlmsg_type != NLMSG_ERROR) {
			r->n->unreadable++;
		}
		step = NLMSG_ALIGN(head.nlmsg_len);
		if (step >= left)
			return;
		at += step;
		left -= step;
	}
}

/* Takes what is there; returns how many, 0: the log's end, or -errno. */
static int read_log(struct responder *r)
{
	int i, count = recvmmsg(r->log, r->messages, BATCH, MSG_DONTWAIT, NULL);

	if (count < 0)
		return -errno;
	r->now_ns = now_ns();
	for (i = 0; i < count; i++) {
		size_t got = r->messages[i].msg_len;

		if (!got)
			return 0;
		if (r->messages[i].msg_hdr.msg_flags & MSG_TRUNC)
			r->n->unreadable++;
		else
			take_messages(r, r->bytes[i], got);
	}
	return count;
}

static void sleep_until(struct responder *r, uint64_t soonest)
{
	struct pollfd there = { .fd = r->log, .events = POLLIN };
	uint64_t wait = WAIT_NS;
	struct timespec ts;

	if (soonest < r->now_ns + wait)
		wait = soonest > r->now_ns ? soonest - r->now_ns : 0;
	ts = (struct timespec){ .tv_nsec = (long)wait };
	ppoll(&there, 1, &ts, NULL);
}

static int respond_loop(struct responder *r)
{
	uint64_t busy_ns = now_ns(), told_ns = 0, soonest;
	int count;

	while (!__atomic_load_n(&r->inbox->stop, __ATOMIC_ACQUIRE)) {
		count = read_log(r);
		if (!count) {
			give(r, UINT64_MAX);
			return 0;
		}
		if (count == -ENOBUFS)
			r->n->overruns++;
		else if (count < 0 && count != -EAGAIN && count != -EINTR)
			return count;
		r->now_ns = now_ns();
		if (count > 0)
			busy_ns = r->now_ns;
		/* One that is full has more to read before anybody is answered. */
		soonest = count < BATCH || r->reply->ack_delay_ns ?
				  give(r, r->now_ns) : r->now_ns;
		if (r->now_ns - told_ns > USAGE_NS) {
			tell_usage(r->inbox);
			told_ns = r->now_ns;
		}
		/* Nobody is woken up in time for an ACK that is due that soon. */
		if (count == -EAGAIN && r->now_ns - busy_ns >= r->reply->spin_ns &&
		    soonest - r->now_ns > r->reply->spin_ns) {
			tell_idle(r->inbox);
			sleep_until(r, soonest);
			tell_busy(r->inbox);
		}
	}
	return 0;
}

static unsigned int scale_of(uint64_t window_bytes)
{
	unsigned int scale = 0;

	while (scale < SCALE_MOST && window_bytes >> scale > 65535)
		scale++;
	return scale;
}

int zclab_respond(int log, int tun, const struct zclab_reply *reply,
		  struct zclab_inbox *inbox, struct zclab_replies *replies,
		  struct zclab_tally *tallies, unsigned int count)
{
	struct responder *r = calloc(1, sizeof(*r));
	unsigned int i;
	int err;

	if (!r)
		return -ENOMEM;
	r->log = log;
	r->tun = tun;
	r->reply = reply;
	r->inbox = inbox;
	r->n = replies;
	r->tallies = tallies;
	r->count = count;
	r->draw = reply->seed;
	r->scale = scale_of(reply->window_bytes);
	for (i = 0; i < BATCH; i++) {
		r->pieces[i] = (struct iovec){ r->bytes[i], MESSAGE_BYTES };
		r->messages[i].msg_hdr.msg_iov = &r->pieces[i];
		r->messages[i].msg_hdr.msg_iovlen = 1;
	}
	err = respond_loop(r);
	for (i = 0; i < BUCKETS; i++)
		while (r->buckets[i])
			forget(r, r->buckets[i]);
	free(r);
	return err;
}
