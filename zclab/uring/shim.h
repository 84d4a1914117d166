/*
 * The contract between the C shim and Python. Both the compiler and cffi's
 * cdef() read this file, so it holds no preprocessor line and no include guard.
 *
 * Functions return 0 or -errno. Nothing here prints, exits or keeps globals.
 * All times are CLOCK_MONOTONIC nanoseconds.
 */

enum zclab_mode {
	ZCLAB_SEND = 0,
	ZCLAB_SEND_ZC = 1,
	ZCLAB_SEND_ZC_FIXED = 2,
	ZCLAB_MIXED = 3,	/* each request draws one of the three above */
};

/* Which rule of the two-CQE contract the kernel broke (0: none). */
enum zclab_breach {
	ZCLAB_BREACH_NONE = 0,
	ZCLAB_BREACH_UNKNOWN_REQUEST = 1,	/* user_data that was never sent */
	ZCLAB_BREACH_NOTIFICATION_FIRST = 2,	/* F_NOTIF before its completion */
	ZCLAB_BREACH_NOTIFICATION_TWICE = 3,	/* F_NOTIF with none outstanding */
	ZCLAB_BREACH_NOTIFICATION_MORE = 4,	/* F_NOTIF that carries F_MORE */
	ZCLAB_BREACH_COMPLETION_TWICE = 5,	/* second result for one request */
	ZCLAB_BREACH_PLAIN_MORE = 6,		/* F_MORE on a plain send */
};

/* What one arm sends. */
struct zclab_send {
	unsigned int file;		/* index into the ring's files */
	int mode;			/* enum zclab_mode */
	unsigned int io_size_bytes;	/* payload of one request */
	unsigned int batch;		/* requests per submit */
	unsigned int notification_lag;	/* outstanding notifications from which
					 * a submit also fetches events */
	unsigned int outstanding_max;	/* notifications outstanding at most */
	unsigned int clock_interval;	/* requests between two clock reads */
	int report_usage;		/* ask for the copied flag (6.2) */
	uint64_t seed;			/* of the draw in mode mixed; not 0 */
};

/* What the kernel granted. */
struct zclab_ring_facts {
	unsigned int setup_flags;	/* IORING_SETUP_* */
	unsigned int sq_entries;
	unsigned int cq_entries;
	int registered_ring;		/* 0 or 1 */
};

/* Counters of one slice. "Timed" excludes the warm-up and the drain. */
struct zclab_counts {
	uint64_t started_ns;		/* clock at the start of the timed part */
	uint64_t elapsed_ns;		/* timed: first submit to last completion */
	uint64_t drain_ns;		/* after it: last notifications awaited */
	uint64_t requests;		/* timed: completed with res >= 0 */
	uint64_t bytes;			/* timed: sum of res */
	uint64_t zc_requests;		/* those of requests that were SEND_ZC */
	uint64_t notifications;		/* F_NOTIF of those, the drain included */
	uint64_t copied;		/* those with the copied flag */
	uint64_t failed_notifications;	/* F_NOTIF of failed requests */
	uint64_t outstanding;		/* notifications due when the clock stopped */
	uint64_t eagain;		/* timed: res == -EAGAIN */
	uint64_t short_sends;		/* timed: 0 <= res < io_size_bytes */
	uint64_t submits;		/* timed: submitting io_uring_enter calls */
	uint64_t cq_overflow;		/* times CQEs were found not to fit */
	uint64_t cpu_user_ns;		/* timed: this thread */
	uint64_t cpu_sys_ns;		/* timed: this thread */
	uint64_t sent_total;		/* requests, the warm-up included */
	uint64_t sent_total_bytes;	/* bytes, the warm-up included */
	int error;			/* -errno of the first failed request, or 0 */
	int breach;			/* enum zclab_breach */
};

struct zclab_ring;

/*
 * One ring with a registered file table, and one registered buffer that all
 * arms send from: so no arm differs from another by where its memory lies.
 */
int zclab_ring_open(const int *fds, unsigned int count, uint64_t buffer_bytes,
		    struct zclab_ring **out, struct zclab_ring_facts *facts);
int zclab_ring_slice(struct zclab_ring *ring, const struct zclab_send *send,
		     uint64_t warmup_ns, uint64_t budget_ns,
		     struct zclab_counts *out);
void zclab_ring_close(struct zclab_ring *ring);

/* Written by the receiver, read by the sender's process: shared memory. */
struct zclab_tally {
	uint64_t received;		/* datagrams (UDP) or recv calls (TCP) */
	uint64_t bytes;			/* payload bytes */
	uint64_t closed;		/* 1 once the peer closed (TCP) */
	uint64_t error;			/* errno of a failed recv, or 0 */
	uint64_t pad[4];		/* one cache line each */
};

/* Drains the sockets until *stop is set; returns 0 or -errno. */
int zclab_receive(const int *fds, unsigned int count, struct zclab_tally *tallies,
		  const uint64_t *stop);

struct zclab_support {
	int error;			/* -errno of making a ring, or 0 */
	int send_zc;			/* opcode there: 0 or 1 */
	int report_usage;		/* flag accepted: 0, 1, or -errno of the try */
	int defer_taskrun;		/* ring flag accepted: 0 or 1 */
};

void zclab_probe(struct zclab_support *out);

const char *zclab_liburing_version(void);	/* of the headers compiled against */
const char *zclab_compiler(void);
