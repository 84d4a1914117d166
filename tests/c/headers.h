/*
 * What the tests of the responder share: log messages as the kernel would write them,
 * and a plain look at what was answered.
 */
#ifndef ZCLAB_HEADERS_H
#define ZCLAB_HEADERS_H

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "loopback.h"
#include "shim.h"

enum { H_FIN = 1, H_SYN = 2, H_RST = 4, H_ACK = 16 };

#define PACKET_MAX 160u
#define LOG_MAX (PACKET_MAX + 64u)

/* A packet of TCP; of its payload only the length is ever there. */
struct packet {
	int version;			/* 4 or 6 */
	uint16_t from_port, to_port;
	uint32_t number, acknowledged;
	uint8_t flags;
	uint32_t payload;
	const uint8_t *options;
	unsigned int option_bytes;	/* a multiple of four */
};

/* As Linux asks: MSS, SACK, timestamps, scale. */
static const uint8_t usual_options[] = {
	2, 4, 0xff, 0xd7, 4, 2, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 1, 3, 3, 7,
};

static inline void h16(uint8_t *at, unsigned int value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void h32(uint8_t *at, uint32_t value)
{
	h16(at, value >> 16);
	h16(at + 2, value & 0xffff);
}

static inline uint32_t r16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t r32(const uint8_t *at)
{
	return r16(at) << 16 | r16(at + 2);
}

/* From 192.0.2.1 or 2001:db8::1 to ...2; returns the size of the headers. */
static inline size_t lay_packet(const struct packet *p, uint8_t *at)
{
	size_t ip = p->version == 4 ? 20 : 40, size = 20 + p->option_bytes;
	uint8_t *tcp = at + ip;

	memset(at, 0, ip + 20);
	if (p->version == 4) {
		at[0] = 0x45;
		h16(at + 2, (unsigned int)(ip + size + p->payload));
		at[6] = 0x40;
		at[9] = IPPROTO_TCP;
		memcpy(at + 12, "\xc0\0\2\1\xc0\0\2\2", 8);
	} else {
		at[0] = 0x60;
		h16(at + 4, (unsigned int)(size + p->payload));
		at[6] = IPPROTO_TCP;
		memcpy(at + 8, "\x20\1\xd\xb8", 4);
		memcpy(at + 24, "\x20\1\xd\xb8", 4);
		at[23] = 1;
		at[39] = 2;
	}
	h16(tcp, p->from_port);
	h16(tcp + 2, p->to_port);
	h32(tcp + 4, p->number);
	h32(tcp + 8, p->acknowledged);
	tcp[12] = (uint8_t)(size / 4 << 4);
	tcp[13] = p->flags;
	if (p->option_bytes)
		memcpy(tcp + 20, p->options, p->option_bytes);
	return ip + size;
}

/* A log message with one packet; returns its size. */
static inline size_t lay_message(uint8_t *at, const uint8_t *packet, size_t bytes,
				 uint32_t sequence)
{
	struct nlmsghdr head = { .nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET };
	struct nlattr payload = { .nla_len = (uint16_t)(4 + bytes),
				  .nla_type = NFULA_PAYLOAD };
	struct nlattr number = { .nla_len = 8, .nla_type = NFULA_SEQ };
	size_t size = NLMSG_HDRLEN + sizeof(struct nfgenmsg);

	memset(at, 0, size + 8 + 4 + NLA_ALIGN(bytes));
	memcpy(at + size, &payload, 4);
	memcpy(at + size + 4, packet, bytes);
	size += 4 + NLA_ALIGN(bytes);
	memcpy(at + size, &number, 4);
	h32(at + size + 4, sequence);
	size += 8;
	head.nlmsg_len = (uint32_t)size;
	memcpy(at, &head, sizeof(head));
	return size;
}

static inline uint32_t h_sum(const uint8_t *at, size_t size, uint32_t sum)
{
	size_t i;

	for (i = 0; i < size; i++)
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

struct answer {
	int version;
	uint16_t from_port, to_port;
	uint32_t number, acknowledged;
	uint8_t flags;
	unsigned int window, mss, scale, sacked;	/* sacked: ranges of SACK */
	bool sack_permitted, timestamps;
	uint32_t echo;
	struct { uint32_t from, to; } range[4];
};

/* Reads one answer; false where it is not a whole and sound packet of bare TCP. */
static inline bool read_answer(const uint8_t *at, size_t size, struct answer *a)
{
	const uint8_t *tcp, *option;
	size_t ip, header;
	uint32_t sum;

	memset(a, 0, sizeof(*a));
	if (size < 40)
		return false;
	a->version = at[0] >> 4;
	ip = a->version == 4 ? 20 : 40;
	tcp = at + ip;
	if (a->version == 4) {
		if (at[0] != 0x45 || r16(at + 2) != size || at[9] != IPPROTO_TCP ||
		    h_sum(at, 20, 0) != 0xffff)
			return false;
		sum = h_sum(at + 12, 8, 0);
	} else {
		if (at[0] != 0x60 || size < 60 || r16(at + 4) != size - 40 ||
		    at[6] != IPPROTO_TCP)
			return false;
		sum = h_sum(at + 8, 32, 0);
	}
	sum = h_sum(tcp, size - ip, sum + IPPROTO_TCP + (uint32_t)(size - ip));
	header = (size_t)(tcp[12] >> 4) * 4;
	if (sum != 0xffff || header != size - ip)
		return false;
	a->from_port = (uint16_t)r16(tcp);
	a->to_port = (uint16_t)r16(tcp + 2);
	a->number = r32(tcp + 4);
	a->acknowledged = r32(tcp + 8);
	a->flags = tcp[13];
	a->window = r16(tcp + 14);
	for (option = tcp + 20; option < tcp + header;) {
		if (*option == 1) {
			option++;
			continue;
		}
		if (*option == 2)
			a->mss = r16(option + 2);
		if (*option == 3)
			a->scale = option[2];
		if (*option == 4)
			a->sack_permitted = true;
		if (*option == 8) {
			a->timestamps = true;
			a->echo = r32(option + 6);
		}
		if (*option == 5)
			for (; 2 + 8 * a->sacked < option[1] && a->sacked < 4; a->sacked++) {
				const uint8_t *block = option + 2 + 8 * a->sacked;

				a->range[a->sacked].from = r32(block);
				a->range[a->sacked].to = r32(block + 4);
			}
		if (option[1] < 2)
			return false;
		option += option[1];
	}
	return option == tcp + header;
}

/* A responder between two socket pairs: what is logged, and what it answers. */
struct stage {
	int log[2], tun[2];		/* [0]: of the test; [1]: of the responder */
	uint32_t sequence;
};

static inline struct stage open_stage(void)
{
	struct stage stage = { .sequence = 0 };
	int bytes = 4 << 20;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
			stage.log), "socketpair");
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
			stage.tun), "socketpair");
	set_buffer(stage.log[0], SO_SNDBUFFORCE, SO_SNDBUF, bytes);
	set_buffer(stage.tun[1], SO_SNDBUFFORCE, SO_SNDBUF, bytes);
	return stage;
}

static inline void close_stage(struct stage *stage)
{
	int i;

	for (i = 0; i < 2; i++) {
		close(stage->log[i]);
		close(stage->tun[i]);
	}
}

/* Logs some bytes as the headers of a packet. */
static inline void log_bytes(struct stage *stage, const uint8_t *packet, size_t size)
{
	uint8_t message[LOG_MAX];

	size = lay_message(message, packet, size, stage->sequence++);
	must((int)send(stage->log[0], message, size, 0), "send");
}

static inline void log_packet(struct stage *stage, const struct packet *p)
{
	uint8_t bytes[PACKET_MAX];

	log_bytes(stage, bytes, lay_packet(p, bytes));
}

#endif
