// SPDX-License-Identifier: MIT
/* A ring with its files and the memory that all arms send from. */
#define _GNU_SOURCE /* MAP_HUGETLB, MADV_HUGEPAGE */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring.h"

#define HUGE_BYTES (2ull << 20)
#define SQ_IDLE_MS 1	/* or the kernel's thread would spin into the next slice */

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

/*
 * What io_uring_queue_init_params() does; but before liburing 2.5 that writes into
 * the SQ array of a ring that was made without one. In some newer releases (2.9 is one)
 * it is that function and not io_uring_queue_mmap() that fills in flags and descriptors;
 * without them descriptor 0 would be entered, and closed.
 */
static int init_ring(unsigned int entries, struct io_uring_params *p,
		     struct io_uring *ring)
{
	unsigned int i;
	int err, fd = io_uring_setup(entries, p);

	if (fd < 0)
		return fd;
	err = io_uring_queue_mmap(fd, p, ring);
	if (err) {
		close(fd);
		return err;
	}
	ring->flags = p->flags;
	ring->features = p->features;
	ring->ring_fd = ring->enter_ring_fd = fd;
	for (i = 0; !(p->flags & IORING_SETUP_NO_SQARRAY) && i < p->sq_entries; i++)
		ring->sq.array[i] = i;
	return 0;
}

static int try_ring(const struct zclab_setup *setup, unsigned int flags,
		    struct io_uring *ring, unsigned int *granted)
{
	struct io_uring_params p, bare;
	int err;

	memset(&p, 0, sizeof(p));
	p.flags = flags | IORING_SETUP_CQSIZE;
	if (setup->submit_all)
		p.flags |= IORING_SETUP_SUBMIT_ALL;
	if (setup->sqpoll) {
		p.flags |= IORING_SETUP_SQPOLL;
		p.sq_thread_idle = SQ_IDLE_MS;
		if (setup->sqpoll_cpu >= 0) {
			p.flags |= IORING_SETUP_SQ_AFF;
			p.sq_thread_cpu = (unsigned int)setup->sqpoll_cpu;
		}
	}
	p.cq_entries = setup->cq_entries;
	/* One indirection less for each request (6.6). */
	bare = p;
	bare.flags |= IORING_SETUP_NO_SQARRAY;
	err = init_ring(setup->sq_entries, &bare, ring);
	if (err == -EINVAL)
		err = init_ring(setup->sq_entries, &p, ring);
	*granted = err ? 0 : ring->flags;
	return err;
}

int open_ring(const struct zclab_setup *setup, struct io_uring *ring,
	      unsigned int *flags)
{
	static const unsigned int coop =
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
	static const unsigned int defer =
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	int err;

	switch (setup->taskrun) {
	case ZCLAB_TASKRUN_DEFAULT:
		return try_ring(setup, 0, ring, flags);
	case ZCLAB_TASKRUN_COOP:
		return try_ring(setup, coop, ring, flags);
	case ZCLAB_TASKRUN_DEFER:
		return try_ring(setup, defer, ring, flags);
	case ZCLAB_TASKRUN_BEST:
		break;
	default:
		return -EINVAL;
	}
	/* With SQPOLL no thread of ours is interrupted: the flags are refused. */
	err = setup->sqpoll ? -EINVAL : try_ring(setup, defer, ring, flags);
	if (err == -EINVAL && !setup->sqpoll)
		err = try_ring(setup, coop, ring, flags);
	if (err == -EINVAL)
		err = try_ring(setup, 0, ring, flags);
	return err;
}

/*
 * The area begins on a 2 MiB boundary where huge pages are wanted, and the letters
 * of the alphabet fill it, as they fill the buffers of both tools.
 */
static int open_area(struct zclab_ring *s, const struct zclab_setup *setup)
{
	uint64_t unit = setup->pages == ZCLAB_PAGES_NORMAL ?
			(uint64_t)sysconf(_SC_PAGESIZE) : HUGE_BYTES;
	uint64_t i, slack = setup->pages == ZCLAB_PAGES_THP ? unit : 0;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;

	if (setup->pages == ZCLAB_PAGES_HUGETLB)
		flags |= MAP_HUGETLB | MAP_HUGE_2MB;
	s->area_bytes = (setup->buffer_bytes + unit - 1) / unit * unit;
	s->mapped_bytes = s->area_bytes + slack;
	s->mapped = mmap(NULL, s->mapped_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (s->mapped == MAP_FAILED)
		return -errno;
	s->area = s->mapped;
	if (slack) {
		s->area += (unit - (uintptr_t)s->area % unit) % unit;
		if (madvise(s->area, s->area_bytes, MADV_HUGEPAGE)) {
			int err = -errno;

			munmap(s->mapped, s->mapped_bytes);
			return err;
		}
	}
	for (i = 0; i < s->area_bytes; i++)
		s->area[i] = (char)('a' + i % 26);
	return 0;
}

static int register_all(struct zclab_ring *s, const struct zclab_setup *setup,
			const int *fds, struct zclab_ring_facts *facts)
{
	uint64_t bytes = setup->registered_bytes;
	struct iovec iov = { s->area, bytes };
	int err;

	err = io_uring_register_files(&s->ring, fds, s->file_count);
	if (err)
		return err;
	/* Registered memory is charged to RLIMIT_MEMLOCK, so no more than needed. */
	err = bytes ? io_uring_register_buffers(&s->ring, &iov, 1) : 0;
	if (err)
		return err;
	/* An optimisation of 5.18; without it every enter looks the fd up. */
	if (setup->registered_ring)
		facts->registered_ring = io_uring_register_ring_fd(&s->ring) == 1;
	s->enter_flags = facts->registered_ring ? IORING_ENTER_REGISTERED_RING : 0;
	return 0;
}

int zclab_ring_open(const struct zclab_setup *setup, const int *fds,
		    unsigned int count, struct zclab_ring **out,
		    struct zclab_ring_facts *facts)
{
	struct zclab_ring *s;
	unsigned int i;
	int err = -ENOMEM;

	if (!count || !setup->buffer_bytes || setup->pages < ZCLAB_PAGES_NORMAL ||
	    setup->pages > ZCLAB_PAGES_HUGETLB ||
	    setup->registered_bytes > setup->buffer_bytes)
		return -EINVAL;
	memset(facts, 0, sizeof(*facts));
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->file_count = count;
	s->sqpoll = setup->sqpoll;
	s->files = calloc(count, sizeof(*s->files));
	s->messages = calloc(ZCLAB_SLOTS, sizeof(*s->messages));
	if (!s->files || !s->messages)
		goto free_ring;
	for (i = 0; i < count; i++)
		s->files[i].fd = fds[i];

	err = open_ring(setup, &s->ring, &facts->setup_flags);
	if (err)
		goto free_ring;
	err = open_area(s, setup);
	if (err)
		goto exit_ring;
	err = register_all(s, setup, fds, facts);
	if (err)
		goto unmap_area;
	facts->sq_entries = s->ring.sq.ring_entries;
	facts->cq_entries = s->ring.cq.ring_entries;
	facts->buffer_address = (uintptr_t)s->area;
	facts->buffer_bytes = s->area_bytes;
	facts->registered_bytes = setup->registered_bytes;
	*out = s;
	return 0;

unmap_area:
	munmap(s->mapped, s->mapped_bytes);
exit_ring:
	io_uring_queue_exit(&s->ring);
free_ring:
	free(s->messages);
	free(s->files);
	free(s);
	return err;
}

void zclab_ring_close(struct zclab_ring *s)
{
	io_uring_queue_exit(&s->ring);
	munmap(s->mapped, s->mapped_bytes);
	free(s->messages);
	free(s->files);
	free(s);
}
