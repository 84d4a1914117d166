/*
 * The contract between the C shim and Python. Both the compiler and cffi's
 * cdef() read this file, so it holds no preprocessor line and no include guard.
 *
 * Functions return 0 or -errno. Nothing here prints, exits or keeps globals.
 * All times are CLOCK_MONOTONIC nanoseconds.
 */

/* How one request is sent. */
enum zclab_mode {
	/* one opcode each, through the ring; sender.c has them as a table */
	ZCLAB_SEND,
	ZCLAB_SENDMSG,
	ZCLAB_SEND_VEC,			/* SEND of several iovecs (6.17) */
	ZCLAB_SEND_ZC,
	ZCLAB_SEND_ZC_FIXED,		/* from a registered buffer */
	ZCLAB_SEND_ZC_VEC,		/* SEND_ZC of several iovecs (6.17) */
	ZCLAB_SENDMSG_ZC,
	ZCLAB_SENDMSG_ZC_FIXED,		/* iovecs in a registered buffer (6.15) */
	ZCLAB_OPS,			/* how many there are */
	/* each request draws one of the above by weight */
	ZCLAB_MIXED = 16,
	/* one sendmsg(2) per request, without the ring; syscall.c */
	ZCLAB_SEND_SYNC,
	ZCLAB_MSG_ZEROCOPY,
};

enum {
	ZCLAB_SLOTS = 1024,		/* requests in flight, notifications included */
	ZCLAB_BATCH_MAX = 512,		/* requests per submit */
	ZCLAB_IOVECS_MAX = 16,		/* iovecs per request */
	ZCLAB_WEIGHTS_MAX = 256,	/* sum of the weights of mode mixed */
	ZCLAB_ADDRESS_BYTES = 28,	/* struct sockaddr_in6 */
	ZCLAB_ERRORS = 8,		/* different errnos counted in one slice */
	ZCLAB_LATENCY_BUCKETS = 160,	/* four to the octave, up to 2^40 ns */
	ZCLAB_UNIT_BYTES_MIN = 8,	/* the stamp of a verified unit */
};

/* When the ring's deferred work, notifications among it, is run. */
enum zclab_taskrun {
	ZCLAB_TASKRUN_BEST,		/* the newest of the three below */
	ZCLAB_TASKRUN_DEFAULT,		/* at once, by interrupting the thread */
	ZCLAB_TASKRUN_COOP,		/* at the next system call (5.19) */
	ZCLAB_TASKRUN_DEFER,		/* when events are asked for (6.1) */
};

enum zclab_pages {
	ZCLAB_PAGES_NORMAL,
	ZCLAB_PAGES_THP,		/* madvise(MADV_HUGEPAGE) */
	ZCLAB_PAGES_HUGETLB,		/* 2 MiB, reserved by vm.nr_hugepages */
};

/* When notifications are fetched. */
enum zclab_drain {
	ZCLAB_DRAIN_LAG,		/* from `lag` outstanding ones on */
	ZCLAB_DRAIN_BATCH,		/* with every submit */
	ZCLAB_DRAIN_EACH,		/* all awaited before the next submit */
};

enum zclab_on_error {
	ZCLAB_ON_ERROR_STOP,		/* the first failed request ends the slice */
	ZCLAB_ON_ERROR_COUNT,		/* failed requests are counted by errno */
};

/* Which rule of the two-CQE contract the kernel broke (0: none). */
enum zclab_breach {
	ZCLAB_BREACH_NONE,
	ZCLAB_BREACH_UNKNOWN_REQUEST,	/* a CQE or range that was never sent */
	ZCLAB_BREACH_NOTIFICATION_FIRST, /* F_NOTIF before its completion */
	ZCLAB_BREACH_NOTIFICATION_TWICE, /* F_NOTIF with none outstanding */
	ZCLAB_BREACH_NOTIFICATION_MORE,	/* F_NOTIF that carries F_MORE */
	ZCLAB_BREACH_COMPLETION_TWICE,	/* second result for one request */
	ZCLAB_BREACH_PLAIN_MORE,	/* F_MORE on a plain send */
};

/* What a ring is made with. */
struct zclab_setup {
	int taskrun;			/* enum zclab_taskrun */
	int submit_all;			/* a refused request does not end a submit */
	int sqpoll;			/* a kernel thread submits */
	int sqpoll_cpu;			/* on this CPU, or -1 */
	int registered_ring;		/* 0 or 1 */
	unsigned int sq_entries;
	unsigned int cq_entries;
	int pages;			/* enum zclab_pages */
	uint64_t buffer_bytes;		/* the area that all requests send from */
	uint64_t registered_bytes;	/* so much of its beginning is registered */
};

/* What the kernel granted. */
struct zclab_ring_facts {
	unsigned int setup_flags;	/* IORING_SETUP_* */
	unsigned int sq_entries;
	unsigned int cq_entries;
	int registered_ring;		/* 0 or 1 */
	uint64_t buffer_address;
	uint64_t buffer_bytes;
	uint64_t registered_bytes;
};

/* What one arm sends. */
struct zclab_send {
	int mode;			/* enum zclab_mode */
	unsigned int weights[ZCLAB_OPS]; /* of mode mixed */
	unsigned int file;		/* first of the arm's files in the ring */
	unsigned int flows;		/* files taken in turn, request by request */
	int registered_file;		/* by index instead of by descriptor */
	unsigned int io_size_bytes;	/* payload of one request */
	unsigned int batch;		/* requests per submit */
	unsigned int iovecs;		/* pieces of a sendmsg or vectorised request */
	uint64_t buffer_offset;		/* of the first buffer in the area */
	uint64_t buffer_stride;		/* from one buffer to the next */
	unsigned int buffers;		/* taken in turn, request by request */
	int drain;			/* enum zclab_drain */
	unsigned int lag;		/* outstanding notifications from which a
					 * submit also fetches events;
					 * MSG_ZEROCOPY: sends after which the
					 * error queues are looked at again */
	unsigned int outstanding_max;	/* notifications outstanding at most */
	unsigned int clock_interval;	/* requests between two clock reads */
	int report_usage;		/* ask for the copied flag (6.2) */
	int waitall;			/* MSG_WAITALL */
	int eor;			/* MSG_EOR */
	unsigned int more;		/* MSG_MORE on all but every `more`th */
	int cork;			/* each batch is corked */
	int cork_level;			/* protocol of the option below */
	int cork_option;		/* UDP_CORK or TCP_CORK; clearing it pushes */
	unsigned int address_bytes;	/* 0: the sockets are connected */
	unsigned char address[ZCLAB_ADDRESS_BYTES];
	int latency;			/* fill the histogram */
	unsigned int unit_bytes;	/* stamp such units for the receiver, or 0 */
	int on_error;			/* enum zclab_on_error */
	uint64_t seed;			/* of the draw in mode mixed; not 0 */
};

/* When one slice is sent. */
struct zclab_span {
	uint64_t start_at_ns;		/* begin at this time, or 0: at once */
	uint64_t warmup_ns;		/* untimed sends before the clock starts */
	uint64_t budget_ns;		/* length of the timed part */
	uint64_t requests_max;		/* timed requests at most, or 0: no bound */
};

/* Counters of one slice. "Timed" excludes the warm-up and the drain. */
struct zclab_counts {
	uint64_t started_ns;		/* clock at the start of the timed part */
	uint64_t elapsed_ns;		/* timed: first submit to last completion */
	uint64_t drain_ns;		/* after it: last notifications awaited */
	uint64_t requests;		/* timed: completed with res >= 0 */
	uint64_t bytes;			/* timed: sum of res */
	uint64_t zc_requests;		/* those of requests that were zerocopy */
	uint64_t notifications;		/* notified of those, the drain included */
	uint64_t copied;		/* those with the copied flag */
	uint64_t ranges;		/* error-queue messages (MSG_ZEROCOPY) */
	uint64_t failed_notifications;	/* F_NOTIF of failed requests */
	uint64_t outstanding;		/* notifications due when the clock stopped */
	uint64_t eagain;		/* timed: EAGAIN, and ENOBUFS of MSG_ZEROCOPY */
	uint64_t short_sends;		/* timed: 0 <= res < io_size_bytes */
	uint64_t failed;		/* timed: any other negative result */
	uint64_t submits;		/* timed: hand-overs, each a system call; but with
					 * SQPOLL one is made only to wake its thread */
	uint64_t cq_overflow;		/* times CQEs were found not to fit */
	uint64_t cpu_user_ns;		/* timed: this thread; with SQPOLL all */
	uint64_t cpu_sys_ns;		/* timed: likewise */
	uint64_t switches_voluntary;	/* timed: context switches, likewise */
	uint64_t switches_forced;	/* timed: likewise */
	uint64_t sent_total;		/* requests, the warm-up included */
	uint64_t sent_total_bytes;	/* bytes, the warm-up included */
	uint64_t stopped;		/* 1: *stop was set before the budget's end, or
					 * requests in flight were not awaited for it */
	int errors[ZCLAB_ERRORS];	/* errnos met, the warm-up's included; then 0 */
	uint64_t error_counts[ZCLAB_ERRORS];
	int breach;			/* enum zclab_breach */
	uint64_t latency[ZCLAB_LATENCY_BUCKETS]; /* completion to notification */
};

struct zclab_ring;

/*
 * One ring with a file table and one area that all arms send from: so no arm
 * differs from another by where its memory lies.
 */
int zclab_ring_open(const struct zclab_setup *setup, const int *fds,
		    unsigned int count, struct zclab_ring **out,
		    struct zclab_ring_facts *facts);

/*
 * Sends as `send` says. When *stop becomes other than 0 it ends early; stop may
 * be null. After an error too, everything that is in flight is awaited, and the
 * counts are complete; unless it is stuck (-ETIME), *stop ended the wait (stopped)
 * or the kernel broke the contract (-EPROTO). Then the ring takes no other slice.
 */
int zclab_ring_slice(struct zclab_ring *ring, const struct zclab_send *send,
		     const struct zclab_span *span, const uint64_t *stop,
		     struct zclab_counts *out);

void zclab_ring_close(struct zclab_ring *ring);

/* Smallest latency that falls into a bucket. */
uint64_t zclab_latency_floor_ns(unsigned int bucket);

/* Written by the receiver, read by the sender's process: shared memory. */
struct zclab_tally {
	uint64_t received;		/* datagrams (UDP) or recv calls (TCP) */
	uint64_t bytes;			/* payload bytes */
	uint64_t accepted;		/* connections of a listening socket */
	uint64_t closed;		/* connections that the peer closed */
	uint64_t corrupt;		/* units whose bytes are not what was sent */
	uint64_t disordered;		/* units that came after a later one, or twice */
	uint64_t error;			/* errno of a failed recv, or 0 */
	uint64_t pad;			/* one cache line each */
};

/* The head of that memory. */
struct zclab_inbox {
	uint64_t stop;			/* set by the sender's process: end */
	uint64_t cpu_user_ns;		/* of the receiver so far */
	uint64_t cpu_sys_ns;
	uint64_t switches;		/* its context switches so far */
	uint64_t turns;			/* odd: it waits for data, and the above is all
					 * that it took until then; even: it does not */
	uint64_t pad[3];
};

/*
 * Drains the sockets until inbox->stop is set; returns 0 or -errno. A listening
 * socket accepts all comers. units[k] is what the sender stamps on socket k, or 0
 * for a socket whose payload is counted and not looked at.
 */
int zclab_receive(const int *fds, const unsigned int *units, unsigned int count,
		  struct zclab_inbox *inbox, struct zclab_tally *tallies);

/* How the receiver's side of TCP is played where there is no receiver. */
struct zclab_reply {
	unsigned int mss;		/* announced; 0: the most that can be read */
	uint64_t window_bytes;		/* announced; so much is in flight at most */
	int sack;			/* selective acknowledgements, if asked for */
	int timestamps;			/* likewise (RFC 7323) */
	unsigned int ack_every;		/* an ACK after so many segments at the latest */
	uint64_t ack_delay_ns;		/* and so long after the first of them; 0: as
					 * soon as no other is there to be read */
	uint64_t spin_ns;		/* looks for more so long before it sleeps */
	unsigned int withhold;		/* takes one segment in so many as never seen,
					 * or 0: that is for tests */
	uint64_t seed;			/* of that draw; not 0 */
	unsigned int first_port;	/* tally k is of port first_port + k */
};

/* What it saw and said; written by it, read by the sender's process. */
struct zclab_replies {
	uint64_t messages;		/* read from the log */
	uint64_t segments;		/* with payload, repeated ones included */
	uint64_t bytes;			/* acknowledged: seen, and all before them */
	uint64_t gaps;			/* segments that came after a missing one */
	uint64_t repeated;		/* segments that had been seen as a whole */
	uint64_t crowded;		/* segments after more gaps than it remembers */
	uint64_t beyond;		/* segments outside the window: not taken */
	uint64_t withheld;		/* taken as never seen, as asked for */
	uint64_t acks;			/* sent, those below included */
	uint64_t repeated_acks;		/* that acknowledged nothing new */
	uint64_t syns;			/* new connections */
	uint64_t fins;			/* connections closed by the sender */
	uint64_t resets;		/* connections reset by the sender */
	uint64_t refusals;		/* resets sent: to no connection that is known */
	uint64_t flows;			/* connections now */
	uint64_t flows_most;		/* at one time */
	uint64_t overruns;		/* the log's socket was full (ENOBUFS) */
	uint64_t lost;			/* log messages missing by their number */
	uint64_t others;		/* packets that are no TCP */
	uint64_t oversized;		/* packets whose header has no length */
	uint64_t unreadable;		/* messages or packets that make no sense */
	uint64_t unwritten;		/* answers that could not be written: repeated */
	uint64_t largest;		/* payload of the largest segment */
};

/*
 * Answers TCP until inbox->stop is set, or `log` is at its end; returns 0 or -errno.
 * Headers of what is sent are read from `log` (nfnetlink_log messages), answers are
 * written into `tun` as IP packets. What was not in the log is never acknowledged.
 */
int zclab_respond(int log, int tun, const struct zclab_reply *reply,
		  struct zclab_inbox *inbox, struct zclab_replies *replies,
		  struct zclab_tally *tallies, unsigned int count);

/* Makes a ring, or says by -errno why there is none; *flags: IORING_SETUP_*. */
int zclab_probe_ring(const struct zclab_setup *setup, unsigned int *flags);

/* Sends one byte to an own loopback socket in a mode; -errno of what refused. */
int zclab_probe_mode(int mode, int report_usage);

const char *zclab_liburing_version(void);	/* of the headers compiled against */
const char *zclab_compiler(void);
