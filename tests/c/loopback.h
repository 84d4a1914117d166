/* What the C tests share: sockets on loopback, and what this process holds. */
#ifndef ZCLAB_LOOPBACK_H
#define ZCLAB_LOOPBACK_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZED 1
#endif
#endif
#ifndef ADDRESS_SANITIZED
#define ADDRESS_SANITIZED 0
#endif

#define SOCKET_BYTES (8 << 20)	/* of socket buffers: holds what a test sends */

/* A step of a test that can only fail when the machine cannot run it at all. */
static inline int must(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		exit(2);
	}
	return result;
}

/*
 * A loopback of this process's own, where that is allowed: no firewall's rule is
 * in the way, and nothing that a test sends can leave. Otherwise the host's.
 */
static inline void own_network(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET))
		return;
	fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
	must(ioctl(fd, SIOCSIFFLAGS, &lo), "lo up");
	close(fd);
}

struct place {
	struct sockaddr_storage at;
	socklen_t length;
};

static inline struct place loopback(int family)
{
	struct place place = { .length = sizeof(struct sockaddr_in) };

	place.at.ss_family = (sa_family_t)family;
	if (family == AF_INET6) {
		((struct sockaddr_in6 *)&place.at)->sin6_addr = in6addr_loopback;
		place.length = sizeof(struct sockaddr_in6);
	} else {
		((struct sockaddr_in *)&place.at)->sin_addr.s_addr =
			htonl(INADDR_LOOPBACK);
	}
	return place;
}

/* A socket that is bound to a free port of loopback; `place` says to which. */
static inline int open_bound(int family, int type, struct place *place)
{
	int fd = must(socket(family, type | SOCK_CLOEXEC, 0), "socket");

	*place = loopback(family);
	must(bind(fd, (struct sockaddr *)&place->at, place->length), "bind");
	must(getsockname(fd, (struct sockaddr *)&place->at, &place->length),
	     "getsockname");
	return fd;
}

static inline void set_number(int fd, int level, int option, int value)
{
	must(setsockopt(fd, level, option, &value, sizeof(value)), "setsockopt");
}

/* Beyond net.core.[rw]mem_max where that is allowed, up to it otherwise. */
static inline void set_buffer(int fd, int forced, int option, int bytes)
{
	if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)))
		set_number(fd, SOL_SOCKET, option, bytes);
}

/* Both ends of one connection on loopback. */
struct pair {
	int sending;
	int receiving;
	struct place place;	/* of the receiving end */
};

static inline struct pair open_udp(int family)
{
	struct pair pair;

	pair.receiving = open_bound(family, SOCK_DGRAM, &pair.place);
	pair.sending = must(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
	set_buffer(pair.receiving, SO_RCVBUFFORCE, SO_RCVBUF, SOCKET_BYTES);
	set_buffer(pair.sending, SO_SNDBUFFORCE, SO_SNDBUF, SOCKET_BYTES);
	set_number(pair.sending, SOL_SOCKET, SO_ZEROCOPY, 1);
	must(connect(pair.sending, (struct sockaddr *)&pair.place.at,
		     pair.place.length), "connect");
	return pair;
}

/*
 * Closing either end resets the connection: nothing lingers from test to test. No
 * end waits for more to send before it sends, which would be 40 ms each time.
 */
static inline struct pair open_tcp(int family)
{
	static const struct linger reset = { .l_onoff = 1 };
	struct pair pair;
	int listening = open_bound(family, SOCK_STREAM, &pair.place);

	must(listen(listening, 1), "listen");
	pair.sending = must(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	set_number(pair.sending, SOL_SOCKET, SO_ZEROCOPY, 1);
	must(connect(pair.sending, (struct sockaddr *)&pair.place.at,
		     pair.place.length), "connect");
	pair.receiving = must(accept4(listening, NULL, NULL, SOCK_CLOEXEC), "accept");
	close(listening);
	set_number(pair.sending, IPPROTO_TCP, TCP_NODELAY, 1);
	setsockopt(pair.sending, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(pair.receiving, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	return pair;
}

static inline void close_pair(struct pair *pair)
{
	close(pair->sending);
	close(pair->receiving);
}

/* Descriptors that are open now, the one that looks not among them. */
static inline unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;
	struct dirent *entry;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count - 1;
}

struct memory {
	unsigned long mapped;
	unsigned long resident;
};

/* In bytes (proc(5), statm); the reading itself takes none. */
static inline struct memory memory_held(void)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	struct memory held = { 0, 0 };
	char text[128] = "";
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return held;
	if (read(fd, text, sizeof(text) - 1) > 0 &&
	    sscanf(text, "%lu %lu", &held.mapped, &held.resident) == 2) {
		held.mapped *= page;
		held.resident *= page;
	}
	close(fd);
	return held;
}

#endif
