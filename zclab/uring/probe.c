// SPDX-License-Identifier: MIT
/* What this kernel takes, found by trying: no version is ever looked up. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "ring.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif

int zclab_probe_ring(const struct zclab_setup *setup, unsigned int *flags)
{
	struct io_uring ring;
	int err = open_ring(setup, &ring, flags);

	if (!err)
		io_uring_queue_exit(&ring);
	return err;
}

/* A UDP socket that is connected to itself over loopback: no packet leaves. */
static int open_self(int *out)
{
	struct sockaddr_in self = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(self);
	int err, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&self, length) ||
	    getsockname(fd, (struct sockaddr *)&self, &length) ||
	    connect(fd, (struct sockaddr *)&self, length)) {
		err = -errno;
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

int zclab_probe_mode(int mode, int report_usage)
{
	static const struct zclab_setup setup = {
		.submit_all = 1, .sqpoll_cpu = -1, .sq_entries = 8, .cq_entries = 16,
		.buffer_bytes = 1, .registered_bytes = 1,
	};
	static const struct zclab_span span = { .budget_ns = 1, .requests_max = 1 };
	struct zclab_send send = {
		.mode = mode, .flows = 1, .registered_file = 1, .io_size_bytes = 1,
		.batch = 1, .iovecs = 1, .buffers = 1, .lag = 1, .outstanding_max = 8,
		.clock_interval = 1, .report_usage = report_usage, .more = 1,
		.seed = 1,
	};
	struct zclab_ring_facts facts;
	struct zclab_ring *ring;
	struct zclab_counts counts;
	int fd, err, one = 1;

	err = open_self(&fd);
	if (err)
		return err;
	if (mode == ZCLAB_MSG_ZEROCOPY &&
	    setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		err = -errno;
	if (!err)
		err = zclab_ring_open(&setup, &fd, 1, &ring, &facts);
	if (!err) {
		err = zclab_ring_slice(ring, &send, &span, NULL, &counts);
		zclab_ring_close(ring);
	}
	close(fd);
	return err;
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
