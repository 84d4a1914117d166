/* What the C files of the shim share; Python sees only shim.h. */
#ifndef ZCLAB_RING_H
#define ZCLAB_RING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "shim.h"

/* Kernel ABI; newer than the oldest liburing that zclab builds with. */
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)		/* 6.2 */
#endif
#ifndef IORING_NOTIF_USAGE_ZC_COPIED
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)		/* 6.2 */
#endif
#ifndef IORING_SEND_VECTORIZED
#define IORING_SEND_VECTORIZED (1U << 5)		/* 6.17 */
#endif
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)		/* 6.6 */
#endif

#define STALL_NS 5000000000ull	/* nothing completes for so long: it is stuck */
#define STOP_POLL_NS 20000000	/* a wait looks at *stop so often */
#define STOP_GRACE_NS 60000000	/* *stop set: notifications may still take so long */

/* Life of a slot; the order is the two-CQE contract. */
enum slot_state {
	SLOT_FREE,
	SLOT_SENT,		/* waits for its completion */
	SLOT_DUE,		/* completed; its notification is outstanding */
	SLOT_DUE_FAILED,	/* the same, of a request that failed */
	/* A slot is one of these, in one byte with what else is known of it: */
	SLOT_STATE = 3,
	SLOT_ZEROCOPY = 4,
	SLOT_TIMED = 8,		/* sent after the warm-up: its notification counts */
	SLOT_NONE = 16,		/* no slot is */
};

/* A message as sendmsg(2) takes it. It must live until the kernel read it. */
struct message {
	struct msghdr header;
	struct iovec pieces[ZCLAB_IOVECS_MAX];
};

/* What a file of the ring remembers from slice to slice. */
struct file {
	int fd;
	uint64_t units;		/* units stamped so far */
	uint32_t zerocopy_next;	/* MSG_ZEROCOPY: number of the next send */
	uint32_t zerocopy_timed; /* of the first send after the warm-up */
	uint32_t outstanding;	/* of those not notified yet */
};

/* MSG_ZEROCOPY from a stamped buffer: the sends that may still read it. */
struct reading {
	struct file *file;
	uint32_t first;		/* their numbers */
	uint32_t sends;
	uint32_t due;		/* those not notified yet */
};

struct zclab_ring {
	struct io_uring ring;
	struct zclab_send send;		/* of the slice that runs */
	struct zclab_counts n;
	const uint64_t *stop;
	uint64_t stop_seen_ns;		/* when a wait first found it set, or 0 */
	char *area;			/* all buffers */
	uint64_t area_bytes;		/* usable */
	void *mapped;			/* what to unmap; holds the area */
	uint64_t mapped_bytes;
	uint64_t draw;
	unsigned int zc_flags;
	unsigned int msg_flags;
	bool broken;			/* the kernel broke the contract */
	bool timed;			/* the warm-up is over */
	unsigned int sent;		/* slot of a plain request until its completion */
	bool sqpoll;
	bool ticking;			/* a timeout request is in flight */
	bool uniform;			/* all requests of an op are alike: see below */
	struct io_uring_sqe uniforms[ZCLAB_OPS];
	bool alike;			/* and there is one op alone */
	bool lean;			/* send_alike() sends them, ... */
	unsigned int lean_most;		/* with so many outstanding at most */
	unsigned int enter_flags;	/* of io_uring_enter(2): how its ring is named */
	unsigned int awaiting;		/* requests without a completion */
	unsigned int outstanding;	/* notifications due */
	unsigned int flow;		/* next of the arm's files */
	unsigned int buffer;		/* next of the arm's buffers */
	unsigned int since_look;	/* MSG_ZEROCOPY: sends since the last look */
	unsigned int gathered;		/* requests since the last one without MSG_MORE */
	unsigned int corked;		/* sendmsg(2): sends since the cork was set */
	unsigned int deck_size;
	uint8_t deck[ZCLAB_WEIGHTS_MAX]; /* mode mixed draws from it */
	unsigned int file_count;
	struct file *files;
	struct message *messages;	/* one per slot */
	struct reading readings[ZCLAB_SLOTS]; /* of the arm's buffers */
	unsigned int free_count;
	uint16_t free_slots[ZCLAB_SLOTS];
	uint8_t slots[ZCLAB_SLOTS];	/* enum slot_state */
	uint64_t completed_ns[ZCLAB_SLOTS]; /* only with latency */
};

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t timeval_ns(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000000u + (uint64_t)tv->tv_usec * 1000u;
}

/*
 * What has run since the last tick or switch is not in getrusage(RUSAGE_THREAD) yet,
 * which is most of a slice of 1 ms. Asking for the thread's clock brings it up to date
 * (task_sched_runtime, kernel/sched/core.c); for RUSAGE_SELF getrusage does so itself.
 */
static inline void usage_now(int who, struct rusage *usage)
{
	struct timespec unused;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &unused);
	getrusage(who, usage);
}

static inline bool stopping(const struct zclab_ring *s)
{
	return s->stop && __atomic_load_n(s->stop, __ATOMIC_RELAXED);
}

/* *stop was set so long ago that what is still in flight is left alone. */
static inline bool given_up(struct zclab_ring *s)
{
	if (!stopping(s))
		return false;
	if (!s->stop_seen_ns)
		s->stop_seen_ns = now_ns();
	if (now_ns() <= s->stop_seen_ns + STOP_GRACE_NS)
		return false;
	s->n.stopped = 1;	/* whatever else is told by the slice's result */
	return true;
}

static inline int breach(struct zclab_ring *s, int which)
{
	s->n.breach = which;
	s->broken = true;
	return -EPROTO;
}

/* The arm's buffers are taken in turn. */
static inline char *buffer(const struct zclab_ring *s)
{
	return s->area + s->send.buffer_offset + s->send.buffer_stride * s->buffer;
}

static inline void pass_buffer(struct zclab_ring *s)
{
	if (++s->buffer == s->send.buffers)
		s->buffer = 0;
}

static inline struct file *next_file(struct zclab_ring *s)
{
	struct file *file = &s->files[s->send.file + s->flow];

	if (++s->flow == s->send.flows)
		s->flow = 0;
	return file;
}

/* MSG_MORE, unless this request completes what is gathered. */
static inline unsigned int more_flag(struct zclab_ring *s)
{
	if (++s->gathered < s->send.more)
		return MSG_MORE;
	s->gathered = 0;
	return 0;
}

/*
 * Verified payload: every unit begins with its number on that file, and the other
 * bytes count up from there, so any byte out of place shows.
 */
static inline unsigned char unit_byte(uint64_t number, unsigned int at)
{
	return at < sizeof(number) ? (unsigned char)(number >> (8 * at)) :
				     (unsigned char)(number + at);
}

static inline void stamp(struct zclab_ring *s, struct file *file, char *payload)
{
	unsigned int at, done;

	for (done = 0; done < s->send.io_size_bytes; done += s->send.unit_bytes) {
		uint64_t number = file->units++;

		for (at = 0; at < s->send.unit_bytes &&
			     done + at < s->send.io_size_bytes; at++)
			payload[done + at] = (char)unit_byte(number, at);
	}
}

void fill_message(struct zclab_ring *s, struct message *message, char *payload);
void take_result(struct zclab_ring *s, int res, bool zerocopy);
int set_cork(struct zclab_ring *s, int on);

/* syscall.c: the loop without the ring. */
int syscall_send(struct zclab_ring *s);
int syscall_drain(struct zclab_ring *s);

/* ring.c */
int open_ring(const struct zclab_setup *setup, struct io_uring *ring,
	      unsigned int *flags);

/* receiver.c: writes into the inbox what the calling thread took so far; and the same
 * with what it is about to do. */
void tell_usage(struct zclab_inbox *inbox);
void tell_idle(struct zclab_inbox *inbox);
void tell_busy(struct zclab_inbox *inbox);

#endif
