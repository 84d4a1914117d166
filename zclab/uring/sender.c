// SPDX-License-Identifier: MIT
/*
 * The sending loop. It counts and times; whatever needs a decision or a statistic
 * is Python's business.
 */
#define _GNU_SOURCE /* RUSAGE_THREAD */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

#define TICK ((uint64_t)ZCLAB_SLOTS)	/* user_data of the timeout request */
#define LOCAL_WORK 20		/* pieces of deferred work that a look runs at most,
				 * unless it waits for more (6.14) */
#define SPIN_NS 100000		/* SQPOLL: look so long before sleeping */
#define SQ_SLEEP_NS 1000000000	/* SQPOLL: await its thread's sleep at most */

/* ---- the modes ------------------------------------------------------------ */

/* Everything that a preparation may need. */
struct request {
	struct zclab_ring *s;
	struct io_uring_sqe *sqe;
	struct message *message;
	char *payload;
	int file;		/* index or descriptor */
	int flags;		/* MSG_* */
};

static void address(const struct request *r)
{
	const struct zclab_send *send = &r->s->send;

	if (send->address_bytes)
		io_uring_prep_send_set_addr(r->sqe, (const void *)send->address,
					    (uint16_t)send->address_bytes);
}

static void prep_send(const struct request *r)
{
	io_uring_prep_send(r->sqe, r->file, r->payload, r->s->send.io_size_bytes,
			   r->flags);
	address(r);
}

static void prep_send_zc(const struct request *r)
{
	io_uring_prep_send_zc(r->sqe, r->file, r->payload, r->s->send.io_size_bytes,
			      r->flags, r->s->zc_flags);
	address(r);
}

static void prep_send_zc_fixed(const struct request *r)
{
	io_uring_prep_send_zc_fixed(r->sqe, r->file, r->payload,
				    r->s->send.io_size_bytes, r->flags,
				    r->s->zc_flags, 0);
	address(r);
}

static void prep_sendmsg(const struct request *r)
{
	fill_message(r->s, r->message, r->payload);
	io_uring_prep_sendmsg(r->sqe, r->file, &r->message->header,
			      (unsigned int)r->flags);
}

static void prep_sendmsg_zc(const struct request *r)
{
	prep_sendmsg(r);
	r->sqe->opcode = IORING_OP_SENDMSG_ZC;
	r->sqe->ioprio = (uint16_t)r->s->zc_flags;
}

static void prep_sendmsg_zc_fixed(const struct request *r)
{
	prep_sendmsg_zc(r);
	r->sqe->ioprio |= IORING_RECVSEND_FIXED_BUF;
	r->sqe->buf_index = 0;
}

static void prep_send_vec(const struct request *r)
{
	fill_message(r->s, r->message, r->payload);
	io_uring_prep_send(r->sqe, r->file, r->message->pieces,
			   r->message->header.msg_iovlen, r->flags);
	r->sqe->ioprio |= IORING_SEND_VECTORIZED;
	address(r);
}

static void prep_send_zc_vec(const struct request *r)
{
	fill_message(r->s, r->message, r->payload);
	io_uring_prep_send_zc(r->sqe, r->file, r->message->pieces,
			      r->message->header.msg_iovlen, r->flags,
			      r->s->zc_flags | IORING_SEND_VECTORIZED);
	address(r);
}

static const struct op {
	void (*prepare)(const struct request *r);
	bool zerocopy;
	bool message;		/* needs a struct message of its own */
} ops[ZCLAB_OPS] = {
	[ZCLAB_SEND] = { prep_send, false, false },
	[ZCLAB_SENDMSG] = { prep_sendmsg, false, true },
	[ZCLAB_SEND_VEC] = { prep_send_vec, false, true },
	[ZCLAB_SEND_ZC] = { prep_send_zc, true, false },
	[ZCLAB_SEND_ZC_FIXED] = { prep_send_zc_fixed, true, false },
	[ZCLAB_SEND_ZC_VEC] = { prep_send_zc_vec, true, true },
	[ZCLAB_SENDMSG_ZC] = { prep_sendmsg_zc, true, true },
	[ZCLAB_SENDMSG_ZC_FIXED] = { prep_sendmsg_zc_fixed, true, true },
};

/* Splits the payload into equal pieces, the last one as long as is left. */
void fill_message(struct zclab_ring *s, struct message *message, char *payload)
{
	unsigned int i, size = s->send.io_size_bytes, pieces = s->send.iovecs;
	unsigned int length = size / pieces;

	memset(&message->header, 0, sizeof(message->header));
	message->header.msg_iov = message->pieces;
	message->header.msg_iovlen = pieces;
	if (s->send.address_bytes) {
		message->header.msg_name = s->send.address;
		message->header.msg_namelen = s->send.address_bytes;
	}
	for (i = 0; i < pieces; i++) {
		message->pieces[i].iov_base = payload + (size_t)i * length;
		message->pieces[i].iov_len = length;
	}
	message->pieces[pieces - 1].iov_len += size - length * pieces;
}

/* ---- what comes back ------------------------------------------------------ */

static void count_error(struct zclab_ring *s, int number)
{
	unsigned int i;

	for (i = 0; i < ZCLAB_ERRORS; i++) {
		if (!s->n.errors[i])
			s->n.errors[i] = number;
		if (s->n.errors[i] == number) {
			s->n.error_counts[i]++;
			break;
		}
	}
	s->n.failed++;
}

void take_result(struct zclab_ring *s, int res, bool zerocopy)
{
	if (res >= 0) {
		s->n.requests++;
		s->n.bytes += (uint64_t)res;
		s->n.zc_requests += zerocopy;
		if ((unsigned int)res < s->send.io_size_bytes)
			s->n.short_sends++;
	} else if (res == -EAGAIN) {
		s->n.eagain++;
	} else {
		count_error(s, -res);
	}
}

uint64_t zclab_latency_floor_ns(unsigned int bucket)
{
	if (bucket < 8)
		return bucket < 4 ? bucket : 4; /* 4 to 7 are never filled */
	return (uint64_t)(4 + bucket % 4) << (bucket / 4 - 2);
}

/* Four buckets to the octave: the two bits after the leading one tell them apart. */
static unsigned int latency_bucket(uint64_t ns)
{
	unsigned int octave, bucket;

	if (ns < 4)
		return (unsigned int)ns;
	octave = 63 - (unsigned int)__builtin_clzll(ns);
	bucket = 4 * octave + (unsigned int)(ns >> (octave - 2)) % 4;
	return bucket < ZCLAB_LATENCY_BUCKETS ? bucket : ZCLAB_LATENCY_BUCKETS - 1;
}

/* Both return 1 when the slot is free again, 0 when it is not, or -EPROTO. */
static int take_notification(struct zclab_ring *s, unsigned int index,
			     const struct io_uring_cqe *cqe, uint64_t now)
{
	unsigned int slot = s->slots[index];

	if (cqe->flags & IORING_CQE_F_MORE)
		return breach(s, ZCLAB_BREACH_NOTIFICATION_MORE);
	switch (slot & SLOT_STATE) {
	case SLOT_SENT:
		return breach(s, ZCLAB_BREACH_NOTIFICATION_FIRST);
	case SLOT_DUE:
		if (!(slot & SLOT_TIMED))
			break;
		s->n.notifications++;
		/* The man page calls res a byte count; it is a flag (notif.c). */
		if ((uint32_t)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED)
			s->n.copied++;
		if (s->send.latency)
			s->n.latency[latency_bucket(now - s->completed_ns[index])]++;
		break;
	case SLOT_DUE_FAILED:
		/* Failed sends notify too, always flagged copied: kept apart. */
		s->n.failed_notifications++;
		break;
	default:
		return breach(s, ZCLAB_BREACH_NOTIFICATION_TWICE);
	}
	s->outstanding--;
	return 1;
}

static int take_completion(struct zclab_ring *s, unsigned int index,
			   const struct io_uring_cqe *cqe, uint64_t now)
{
	unsigned int slot = s->slots[index];
	bool zerocopy = slot & SLOT_ZEROCOPY, more = cqe->flags & IORING_CQE_F_MORE;

	if ((slot & SLOT_STATE) != SLOT_SENT)
		return breach(s, ZCLAB_BREACH_COMPLETION_TWICE);
	s->awaiting--;
	/* Whether a notification follows is told by F_MORE, never by res. */
	if (more) {
		if (!zerocopy)
			return breach(s, ZCLAB_BREACH_PLAIN_MORE);
		slot = (slot & ~(unsigned int)SLOT_STATE) |
		       (cqe->res < 0 ? SLOT_DUE_FAILED : SLOT_DUE);
		s->slots[index] = (uint8_t)slot;
		if (s->send.latency)
			s->completed_ns[index] = now;
		s->outstanding++;
	}
	take_result(s, cqe->res, zerocopy);
	return !more;
}

/* Likewise, and the ticks say nothing. Not inlined: reap() would be slower for it. */
static __attribute__((noinline)) int take(struct zclab_ring *s,
					  const struct io_uring_cqe *cqe, uint64_t now)
{
	if (cqe->user_data == TICK) {
		s->ticking = false;
		return 0;
	}
	if (cqe->user_data >= ZCLAB_SLOTS)
		return breach(s, ZCLAB_BREACH_UNKNOWN_REQUEST);
	if (cqe->flags & IORING_CQE_F_NOTIF)
		return take_notification(s, (unsigned int)cqe->user_data, cqe, now);
	return take_completion(s, (unsigned int)cqe->user_data, cqe, now);
}

/*
 * Takes every CQE that is in the ring now. What nearly all of them are is told by
 * comparing with it, and counted in registers: this loop is half of what a request
 * costs outside of the kernel. Whatever is not exactly that, and so every breach,
 * goes to take(); with latency everything does.
 */
static int reap(struct zclab_ring *s)
{
	const struct io_uring_cq *cq = &s->ring.cq;
	const struct io_uring_cqe *cqes = cq->cqes;
	const unsigned int mask = cq->ring_mask;
	const int32_t whole = (int32_t)s->send.io_size_bytes;
	const unsigned int plain = s->send.latency ? SLOT_NONE : s->sent;
	const unsigned int zerocopy = plain + SLOT_ZEROCOPY;
	const unsigned int due = zerocopy - SLOT_SENT + SLOT_DUE;
	unsigned int head = *cq->khead, tail = io_uring_smp_load_acquire(cq->ktail);
	unsigned int whole_ones = 0, zerocopies = 0, notifications = 0, copied = 0;
	uint16_t *top = s->free_slots + s->free_count;
	uint64_t now = s->send.latency ? now_ns() : 0;
	int err = 0;

	/* What does not fit waits in the kernel, which costs time (5.5). */
	if (io_uring_cq_has_overflow(&s->ring))
		s->n.cq_overflow++;
	while (head != tail) {
		const struct io_uring_cqe *cqe = &cqes[head++ & mask];
		uint64_t index = cqe->user_data;
		unsigned int slot = index < ZCLAB_SLOTS ? s->slots[index] : SLOT_FREE;

		if (slot == plain && cqe->res == whole && !cqe->flags) {
			whole_ones++;
		} else if (slot == due && cqe->flags == IORING_CQE_F_NOTIF) {
			notifications++;
			copied += !!((uint32_t)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED);
		} else if (slot == zerocopy && cqe->res == whole &&
			   cqe->flags == IORING_CQE_F_MORE) {
			whole_ones++;
			zerocopies++;
			s->slots[index] = (uint8_t)due;
			continue;
		} else {
			err = take(s, cqe, now);
			if (err < 0)
				break;
			if (!err)
				continue;
			err = 0;
		}
		s->slots[index] = SLOT_FREE;
		*top++ = (uint16_t)index;
	}
	io_uring_smp_store_release(cq->khead, head);
	s->free_count = (unsigned int)(top - s->free_slots);
	s->awaiting -= whole_ones;
	s->n.requests += whole_ones;
	s->n.bytes += (uint64_t)whole_ones * s->send.io_size_bytes;
	if (zerocopies | notifications) {
		s->outstanding += zerocopies - notifications;
		s->n.zc_requests += zerocopies;
		s->n.notifications += notifications;
		s->n.copied += copied;
	}
	return err;
}

/* SQPOLL: the work goes on elsewhere, so looking is cheaper than sleeping. */
static bool spun(struct zclab_ring *s)
{
	uint64_t end = now_ns() + SPIN_NS;

	do {
		if (io_uring_cq_ready(&s->ring))
			return true;
	} while (now_ns() < end);
	return false;
}

/* The last entry, which the kernel did not take, or the next batch would send it. */
static void take_back(struct zclab_ring *s)
{
	struct io_uring_sq *sq = &s->ring.sq;

	sq->sqe_head = --sq->sqe_tail;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
}

/*
 * Waits for a CQE. No wait may be endless, but one with a timeout arms a timer each
 * time, which a virtual machine pays dearly for. So one timeout request ticks along
 * with all waits, armed anew only when it has fired.
 */
static int wait_cqe(struct zclab_ring *s)
{
	static struct __kernel_timespec tick = { .tv_nsec = STOP_POLL_NS };
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	int ret;

	if (s->ticking)
		return io_uring_wait_cqe(&s->ring, &cqe);
	/* What is prepared but not submitted is counted by submit() alone; and when
	 * SQPOLL's thread has read an SQE nobody tells. */
	if (s->sqpoll || io_uring_sq_ready(&s->ring))
		return io_uring_wait_cqes(&s->ring, &cqe, 1, &tick, NULL);
	sqe = io_uring_get_sqe(&s->ring);
	if (!sqe)
		return io_uring_wait_cqes(&s->ring, &cqe, 1, &tick, NULL);
	io_uring_prep_timeout(sqe, &tick, 0, 0);
	io_uring_sqe_set_data64(sqe, TICK);
	ret = io_uring_submit_and_wait(&s->ring, 1);
	s->ticking = ret > 0;
	if (s->alike)	/* the SQE is the batches' again */
		*sqe = s->uniforms[s->send.mode];
	if (s->ticking)
		return 0;
	if (io_uring_sq_ready(&s->ring))
		take_back(s);
	/* No memory for one more request: a wait without one goes on. */
	return ret == -EAGAIN ? io_uring_wait_cqes(&s->ring, &cqe, 1, &tick, NULL) : ret;
}

/*
 * Waits for at least one CQE of a request; -ETIME when none comes for STALL_NS,
 * -ECANCELED when *stop is set while it waits.
 */
static int wait_and_reap(struct zclab_ring *s)
{
	unsigned int awaiting = s->awaiting, outstanding = s->outstanding;
	uint64_t begun = 0;
	int err;

	if (given_up(s))
		return -ECANCELED;
	for (;;) {
		err = s->sqpoll && spun(s) ? 0 : wait_cqe(s);
		if (err && err != -ETIME && err != -EINTR)
			return err;
		err = reap(s);
		if (err || s->awaiting != awaiting || s->outstanding != outstanding)
			return err;
		if (given_up(s))
			return -ECANCELED;
		if (!begun)	/* a signal ends a wait early: only the clock counts */
			begun = now_ns();
		if (now_ns() > begun + STALL_NS)
			return -ETIME;
	}
}

/* ---- what goes out -------------------------------------------------------- */

static bool by_syscall(const struct zclab_send *send)
{
	return send->mode == ZCLAB_SEND_SYNC || send->mode == ZCLAB_MSG_ZEROCOPY;
}

/* xorshift64: cheap enough to be drawn per request. */
static uint64_t draw(struct zclab_ring *s)
{
	uint64_t x = s->draw;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	s->draw = x;
	return x;
}

static void fill(struct zclab_ring *s, const struct op *op, unsigned int index,
		 struct io_uring_sqe *sqe)
{
	struct file *file = &s->files[s->send.file + s->flow];
	struct request r = {
		.s = s,
		.sqe = sqe,
		.message = &s->messages[index],
		.file = s->send.registered_file ? (int)(s->send.file + s->flow) :
						  file->fd,
		.flags = (int)s->msg_flags,
	};

	if (s->send.flows > 1)
		next_file(s);
	if (s->send.more > 1)
		r.flags |= (int)more_flag(s);
	if (s->send.unit_bytes) {
		/* In a buffer of the slot's own: nobody reads it any more. */
		r.payload = s->area + s->send.buffer_offset +
			    s->send.buffer_stride * index;
		stamp(s, file, r.payload);
	} else {
		r.payload = buffer(s);
		pass_buffer(s);
	}
	op->prepare(&r);
	if (s->send.registered_file)
		io_uring_sqe_set_flags(r.sqe, IOSQE_FIXED_FILE);
}

/*
 * Where requests of one op differ in nothing but their number, one is filled for
 * all. With one op alone every SQE is filled once, and keeps what it holds, as the
 * kernel only reads it.
 */
static void fill_uniforms(struct zclab_ring *s)
{
	const struct zclab_send *send = &s->send;
	unsigned int op, i;

	s->uniform = !by_syscall(send) && send->flows == 1 && send->buffers == 1 &&
		     send->more == 1 && !send->unit_bytes;
	for (op = 0; op < ZCLAB_OPS && s->uniform; op++) {
		if (send->mode == ZCLAB_MIXED ? !send->weights[op] :
						send->mode != (int)op)
			continue;
		if (ops[op].message) {
			s->uniform = false;
			continue;
		}
		/* As newer liburing does in io_uring_get_sqe(), older in each
		 * io_uring_prep_*(): or flags of the slice before would be kept. */
		memset(&s->uniforms[op], 0, sizeof(s->uniforms[op]));
		fill(s, &ops[op], 0, &s->uniforms[op]);
	}
	s->alike = s->uniform && send->mode != ZCLAB_MIXED;
	for (i = 0; s->alike && i < s->ring.sq.ring_entries; i++)
		s->ring.sq.sqes[i] = s->uniforms[send->mode];
}

/* What the slot of such a request is until its completion. */
static unsigned int sent_as(const struct zclab_ring *s, int op)
{
	return s->sent + (ops[op].zerocopy ? SLOT_ZEROCOPY : 0);
}

static void prepare(struct zclab_ring *s)
{
	unsigned int index = s->free_slots[--s->free_count];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
	unsigned int which = (unsigned int)s->send.mode;

	if (which == ZCLAB_MIXED)
		which = s->deck[draw(s) % s->deck_size];
	if (s->uniform)
		*sqe = s->uniforms[which];
	else
		fill(s, &ops[which], index, sqe);
	io_uring_sqe_set_data64(sqe, index);
	s->slots[index] = (uint8_t)sent_as(s, (int)which);
}

/* One op, and all requests alike: an SQE needs nothing but its number. */
static void prepare_alike(struct zclab_ring *s)
{
	const uint8_t state = (uint8_t)sent_as(s, s->send.mode);
	struct io_uring_sq *sq = &s->ring.sq;
	const unsigned int mask = sq->ring_mask, end = sq->sqe_tail + s->send.batch;
	const uint16_t *top = s->free_slots + s->free_count;
	unsigned int at;

	for (at = sq->sqe_tail; at != end; at++) {
		unsigned int index = *--top;

		sq->sqes[at & mask].user_data = index;
		s->slots[index] = state;
	}
	s->free_count -= s->send.batch;
	sq->sqe_tail = end;
}

static void prepare_batch(struct zclab_ring *s)
{
	unsigned int i;

	if (s->alike)
		prepare_alike(s);
	else
		for (i = 0; i < s->send.batch; i++)
			prepare(s);
	s->awaiting += s->send.batch;
}

/*
 * Hands over what was prepared, and fetches events when it is time. A look runs but
 * so much deferred work as it waits for: with large batches it would fall behind
 * with the notifications, so it waits for as many events as the batch brings.
 */
static int hand_over(struct zclab_ring *s)
{
	static struct __kernel_timespec most = { .tv_nsec = STOP_POLL_NS };
	struct io_uring_cqe *unused;

	if (s->outstanding < s->send.lag)
		return io_uring_submit(&s->ring);
	if (s->send.batch <= LOCAL_WORK || s->sqpoll)
		return io_uring_submit_and_get_events(&s->ring);
	return io_uring_submit_and_wait_timeout(&s->ring, &unused, s->send.batch,
						&most, NULL);
}

/* `ret` is what the first hand-over of the batch returned. */
static int submit(struct zclab_ring *s, int ret)
{
	unsigned int left = s->send.batch, before;
	int err;

	/* A request that fails in preparation stops a submit short unless the
	 * ring has SUBMIT_ALL; either way what is left is looked up. */
	for (;; ret = hand_over(s)) {
		if (ret < 0 && ret != -ETIME) {
			if (ret == -EINTR)
				continue;
			if (ret != -EBUSY && ret != -EAGAIN)
				return ret;
			/* The completion queue is full: make room first. */
			err = wait_and_reap(s);
			if (err)
				return err;
			continue;
		}
		s->n.submits++;
		if (s->sqpoll)	/* its thread takes them by and by */
			return 0;
		before = left;
		left = io_uring_sq_ready(&s->ring);
		if (!left)
			return 0;
		if (left >= before)
			return -EIO;
	}
}

int set_cork(struct zclab_ring *s, int on)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < s->send.flows; i++)
		if (setsockopt(s->files[s->send.file + i].fd, s->send.cork_level,
			       s->send.cork_option, &on, sizeof(on)))
			err = -errno;
	return err;
}

static int await_completions(struct zclab_ring *s, unsigned int left)
{
	int err = reap(s);

	while (!err && s->awaiting > left)
		err = wait_and_reap(s);
	return err;
}

static int await_notifications(struct zclab_ring *s, unsigned int left)
{
	int err = 0;

	while (!err && s->outstanding > left)
		err = wait_and_reap(s);
	return err;
}

/* SQPOLL: its thread gives entries back only after it posted their completions. */
static int await_entries(struct zclab_ring *s)
{
	int err = 0;

	while (err >= 0 && io_uring_sq_space_left(&s->ring) < s->send.batch)
		err = io_uring_sqring_wait(&s->ring);
	return err < 0 ? err : 0;
}

/* Slots for a batch; without SQPOLL no request waits for its completion here. */
static int await_slots(struct zclab_ring *s)
{
	unsigned int most = s->send.outstanding_max - s->send.batch;
	int err = 0;

	while (!err && s->awaiting + s->outstanding > most)
		err = wait_and_reap(s);
	return err;
}

/*
 * How many requests the kernel's thread may still have when the next batch is
 * made: with one batch at a time it and this one would only take turns. But where
 * each request of a batch has a socket of its own, none may be sent a second one
 * before the first is completed, as its stream may not be reordered.
 */
static unsigned int ahead(const struct zclab_ring *s)
{
	const struct zclab_send *send = &s->send;

	return s->sqpoll && send->batch > send->flows && !send->cork &&
	       send->drain != ZCLAB_DRAIN_EACH &&
	       send->outstanding_max >= 2 * send->batch ? send->batch : 0;
}

static int send_batch(struct zclab_ring *s)
{
	int err, corked = 0;

	/* Unregistered pages stay charged to RLIMIT_MEMLOCK until notified. */
	err = await_slots(s);
	if (!err && s->sqpoll)
		err = await_entries(s);
	if (!err && s->send.cork)
		err = set_cork(s, 1);
	if (err)
		return err;
	prepare_batch(s);
	err = submit(s, hand_over(s));
	if (err)
		return err;
	if (s->send.cork)	/* what was gathered leaves here, or fails here */
		corked = set_cork(s, 0);
	err = await_completions(s, ahead(s));
	if (!err && s->send.drain == ZCLAB_DRAIN_EACH)
		err = await_notifications(s, 0);
	return err ? err : corked;
}

/*
 * send_batch() over and over, for requests that are alike: what it does for each
 * batch anew stays in registers here, which is most of what a batch of one costs
 * outside of the kernel. It takes whole sends and their notifications; at whatever
 * else it finds it lets the others go on from there, and ends.
 */
static int send_alike(struct zclab_ring *s, uint64_t requests, uint64_t *tries)
{
	const bool zerocopy = ops[s->send.mode].zerocopy;
	const unsigned int sent = sent_as(s, s->send.mode);
	const unsigned int due = sent - SLOT_SENT + SLOT_DUE;
	const unsigned int sent_flags = zerocopy ? IORING_CQE_F_MORE : 0;
	const unsigned int batch = s->send.batch, lag = s->send.lag;
	const int32_t whole = (int32_t)s->send.io_size_bytes;
	struct io_uring_sq *sq = &s->ring.sq;
	struct io_uring_cq *cq = &s->ring.cq;
	uint16_t *top = s->free_slots + s->free_count;
	unsigned int tail = sq->sqe_tail, head = *cq->khead;
	unsigned int outstanding = s->outstanding, notifications = 0, copied = 0;
	unsigned int ready = head;
	uint64_t asked = 0, done = 0;
	int ret, err;

	do {
		unsigned int end = tail + batch;

		for (; tail != end; tail++) {
			unsigned int index = *--top;

			sq->sqes[tail & sq->ring_mask].user_data = index;
			s->slots[index] = (uint8_t)sent;
		}
		io_uring_smp_store_release(sq->ktail, tail);
		asked += batch;
		ret = io_uring_enter((unsigned int)s->ring.enter_ring_fd, batch, 0,
				     outstanding < lag ? s->enter_flags :
				     s->enter_flags | IORING_ENTER_GETEVENTS, NULL);
		if (ret != (int)batch || io_uring_cq_has_overflow(&s->ring))
			break;
		ready = io_uring_smp_load_acquire(cq->ktail);
		for (; head != ready; head++) {
			const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
			uint64_t index = cqe->user_data;
			unsigned int slot = index < ZCLAB_SLOTS ? s->slots[index] :
								  SLOT_FREE;

			if (slot == sent && cqe->res == whole &&
			    cqe->flags == sent_flags) {
				done++;
				if (zerocopy) {
					outstanding++;
					s->slots[index] = (uint8_t)due;
					continue;
				}
			} else if (slot == due && cqe->flags == IORING_CQE_F_NOTIF) {
				outstanding--;
				notifications++;
				copied += !!((uint32_t)cqe->res &
					     IORING_NOTIF_USAGE_ZC_COPIED);
			} else {
				break;
			}
			s->slots[index] = SLOT_FREE;
			*top++ = (uint16_t)index;
		}
		io_uring_smp_store_release(cq->khead, head);
	} while (done == asked && head == ready && asked < requests &&
		 outstanding <= s->lean_most && !stopping(s));

	sq->sqe_head = sq->sqe_tail = tail;
	s->free_count = (unsigned int)(top - s->free_slots);
	s->awaiting = (unsigned int)(asked - done);
	s->outstanding = outstanding;
	s->n.requests += done;
	s->n.bytes += done * s->send.io_size_bytes;
	s->n.zc_requests += zerocopy ? done : 0;
	s->n.notifications += notifications;
	s->n.copied += copied;
	*tries += asked;
	s->n.submits += asked / batch - 1;	/* the last one is counted by submit() */
	err = submit(s, ret);
	return err || (done == asked && head == ready) ? err : await_completions(s, 0);
}

/* Sends about so many requests, one at least. */
static int send_some(struct zclab_ring *s, uint64_t requests, uint64_t *tries)
{
	/* What did not fit into the completion queue is fetched by io_uring_submit(). */
	if (s->lean && s->outstanding <= s->lean_most &&
	    !io_uring_cq_has_overflow(&s->ring))
		return send_alike(s, requests, tries);
	if (by_syscall(&s->send)) {
		++*tries;
		return syscall_send(s);
	}
	*tries += s->send.batch;
	return send_batch(s);
}

/*
 * Sends until the budget is spent; returns the time it took in *elapsed_ns. With
 * a bound on the requests the last batch may go beyond it.
 */
static int send_for(struct zclab_ring *s, uint64_t budget_ns, uint64_t most,
		    uint64_t *started_ns, uint64_t *elapsed_ns)
{
	bool enough = false;
	bool strict = s->send.on_error == ZCLAB_ON_ERROR_STOP;
	uint64_t start = now_ns(), passed = 0, tries = 0, until;
	int err = 0;

	while (!err && !enough && passed < budget_ns && !stopping(s)) {
		until = tries + s->send.clock_interval;
		if (most && most < until)
			until = most;
		while (!err && !enough && tries < until && !stopping(s)) {
			err = send_some(s, until - tries, &tries);
			enough = strict && s->n.failed;
		}
		enough |= most && tries >= most;
		passed = now_ns() - start;
	}
	if (!err && s->awaiting) {	/* SQPOLL: they belong to this part */
		err = await_completions(s, 0);
		passed = now_ns() - start;
	}
	if (!err && strict && s->n.failed)
		err = -s->n.errors[0];
	*started_ns = start;
	*elapsed_ns = passed;
	return err;
}

/* Awaits all that is in flight; the first error is the one that is told. */
static int drain(struct zclab_ring *s, int err)
{
	int late = 0;

	if (err == -ECANCELED || err == -ETIME || err == -EPROTO)
		return err;	/* it was waited for; or the slots are unsure */
	if (by_syscall(&s->send)) {
		late = syscall_drain(s);
	} else {
		late = s->awaiting ? await_completions(s, 0) : 0;
		if (!late)
			late = await_notifications(s, 0);
	}
	return err ? err : late;
}

/* Without this the kernel's thread would spin on into the next slice. */
static void await_sqpoll_sleep(struct zclab_ring *s)
{
	static const struct timespec pause = { .tv_nsec = 200000 };
	uint64_t end = now_ns() + SQ_SLEEP_NS;

	while (!(__atomic_load_n(s->ring.sq.kflags, __ATOMIC_ACQUIRE) &
		 IORING_SQ_NEED_WAKEUP) && now_ns() < end)
		nanosleep(&pause, NULL);
}

/* In short sleeps: *stop ends the wait, a signal does not. */
static void await_start(const struct zclab_ring *s, uint64_t at)
{
	uint64_t now;

	while (at && !stopping(s) && (now = now_ns()) < at) {
		uint64_t until = at - now < STOP_POLL_NS ? at : now + STOP_POLL_NS;
		struct timespec ts = {
			.tv_sec = (time_t)(until / 1000000000u),
			.tv_nsec = (long)(until % 1000000000u),
		};

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	}
}

static bool valid_buffers(const struct zclab_ring *s, const struct zclab_send *send)
{
	uint64_t last;

	if (!send->buffers || send->buffers > s->area_bytes ||
	    send->buffer_offset > s->area_bytes || send->buffer_stride > s->area_bytes ||
	    send->io_size_bytes > s->area_bytes)
		return false;
	last = (send->buffers - 1) * send->buffer_stride;
	if (last / send->buffers > send->buffer_stride)
		return false;
	return last <= s->area_bytes &&
	       send->buffer_offset + last + send->io_size_bytes <= s->area_bytes;
}

static bool valid_mode(const struct zclab_send *send)
{
	return (send->mode >= 0 && send->mode < ZCLAB_OPS) ||
	       send->mode == ZCLAB_MIXED || by_syscall(send);
}

static bool valid_stamps(const struct zclab_send *send)
{
	if (!send->unit_bytes)
		return true;
	if (send->unit_bytes < ZCLAB_UNIT_BYTES_MIN ||
	    send->io_size_bytes % send->unit_bytes)
		return false;
	/* Each request in flight needs a buffer of its own to be stamped in. */
	return send->mode == ZCLAB_SEND_SYNC ||
	       (send->buffers >= send->outstanding_max && send->buffers <= ZCLAB_SLOTS &&
		send->buffer_stride >= send->io_size_bytes);
}

static bool valid(const struct zclab_ring *s, const struct zclab_send *send)
{
	return valid_mode(send) && send->batch >= 1 &&
	       send->batch <= ZCLAB_BATCH_MAX &&
	       (by_syscall(send) || send->batch <= s->ring.sq.ring_entries) &&
	       send->io_size_bytes >= 1 && send->io_size_bytes <= INT32_MAX &&
	       send->iovecs >= 1 && send->iovecs <= ZCLAB_IOVECS_MAX &&
	       send->flows >= 1 && send->flows <= s->file_count &&
	       send->file <= s->file_count - send->flows &&
	       send->outstanding_max >= send->batch &&
	       send->outstanding_max <= ZCLAB_SLOTS &&
	       send->address_bytes <= ZCLAB_ADDRESS_BYTES &&
	       send->drain >= ZCLAB_DRAIN_LAG && send->drain <= ZCLAB_DRAIN_EACH &&
	       (send->on_error == ZCLAB_ON_ERROR_STOP ||
		send->on_error == ZCLAB_ON_ERROR_COUNT) &&
	       send->clock_interval >= 1 && send->more >= 1 && send->seed &&
	       valid_buffers(s, send) && valid_stamps(send);
}

/* Lays out the draw of mode mixed; false when its weights are out of range. */
static bool shuffle(struct zclab_ring *s)
{
	unsigned int op, i;

	s->deck_size = 0;
	for (op = 0; op < ZCLAB_OPS; op++)
		for (i = 0; i < s->send.weights[op]; i++) {
			if (s->deck_size == ZCLAB_WEIGHTS_MAX)
				return false;
			s->deck[s->deck_size++] = (uint8_t)op;
		}
	return s->send.mode != ZCLAB_MIXED || s->deck_size;
}

/* Whether send_alike() can do what send_batch() does here, and with how many
 * notifications outstanding at most. */
static void choose_loop(struct zclab_ring *s)
{
	const struct zclab_send *send = &s->send;

	s->lean = s->alike && !s->sqpoll && !send->cork && !send->latency &&
		  send->drain != ZCLAB_DRAIN_EACH;
	s->lean_most = send->outstanding_max - send->batch;
	if (send->batch <= LOCAL_WORK)
		return;
	s->lean &= send->lag > 0;	/* a look waits: see hand_over() */
	if (s->lean_most >= send->lag)
		s->lean_most = send->lag - 1;
}

static bool start_slice(struct zclab_ring *s, const struct zclab_send *send,
			const uint64_t *stop)
{
	unsigned int i;

	/* A slice that could not be drained left requests in flight. */
	if (!valid(s, send) || s->broken || s->awaiting || s->outstanding)
		return false;
	s->send = *send;
	if (!shuffle(s))
		return false;
	s->stop = stop;
	s->draw = send->seed;
	s->zc_flags = send->report_usage ? IORING_SEND_ZC_REPORT_USAGE : 0;
	s->msg_flags = (send->waitall ? MSG_WAITALL : 0) | (send->eor ? MSG_EOR : 0);
	s->stop_seen_ns = 0;
	s->timed = false;
	s->sent = SLOT_SENT;
	s->flow = s->buffer = s->since_look = s->gathered = s->corked = 0;
	/* Only so many slots as may be outstanding: a stamped request finds its
	 * buffer by its slot. The next to be taken is the last one given back. */
	s->free_count = 0;
	for (i = send->outstanding_max; i-- > 0; )
		s->free_slots[s->free_count++] = (uint16_t)i;
	memset(&s->n, 0, sizeof(s->n));
	fill_uniforms(s);
	choose_loop(s);
	return true;
}

/* The warm-up is over: forget its counts, its errors excepted, and note where the
 * timed sends begin. */
static void start_timed(struct zclab_ring *s)
{
	struct zclab_counts warm = s->n;
	unsigned int i;

	memset(&s->n, 0, sizeof(s->n));
	memcpy(s->n.errors, warm.errors, sizeof(warm.errors));
	memcpy(s->n.error_counts, warm.error_counts, sizeof(warm.error_counts));
	s->n.failed_notifications = warm.failed_notifications;
	s->n.breach = warm.breach;
	s->timed = true;
	s->sent = SLOT_SENT | SLOT_TIMED;
	for (i = 0; i < s->send.flows; i++) {
		struct file *file = &s->files[s->send.file + i];

		file->zerocopy_timed = file->zerocopy_next;
	}
}

static void take_usage(struct zclab_counts *n, const struct rusage *before,
		       const struct rusage *after)
{
	n->cpu_user_ns = timeval_ns(&after->ru_utime) - timeval_ns(&before->ru_utime);
	n->cpu_sys_ns = timeval_ns(&after->ru_stime) - timeval_ns(&before->ru_stime);
	n->switches_voluntary = (uint64_t)(after->ru_nvcsw - before->ru_nvcsw);
	n->switches_forced = (uint64_t)(after->ru_nivcsw - before->ru_nivcsw);
}

int zclab_ring_slice(struct zclab_ring *s, const struct zclab_send *send,
		     const struct zclab_span *span, const uint64_t *stop,
		     struct zclab_counts *out)
{
	struct zclab_counts *n = &s->n;
	uint64_t warm, warm_bytes, unused, start;
	struct rusage before, after;
	int err, who = s->sqpoll ? RUSAGE_SELF : RUSAGE_THREAD;

	memset(out, 0, sizeof(*out));
	if (!start_slice(s, send, stop))
		return -EINVAL;
	await_start(s, span->start_at_ns);
	err = send_for(s, span->warmup_ns, 0, &unused, &unused);
	/* Not drained here: the timed part begins and ends with notifications
	 * outstanding, so as many are taken inside the clock as are caused. */
	warm = n->requests;
	warm_bytes = n->bytes;
	start_timed(s);
	if (!err) {
		usage_now(who, &before);
		err = send_for(s, span->budget_ns, span->requests_max,
			       &n->started_ns, &n->elapsed_ns);
		usage_now(who, &after);
		take_usage(n, &before, &after);
	}
	n->outstanding = s->outstanding;
	n->stopped = stopping(s);
	start = now_ns();
	/* Or it would join the next slice's data; a failed batch left the cork set. */
	if (s->gathered || send->cork)
		set_cork(s, 0);
	err = drain(s, err);
	n->drain_ns = now_ns() - start;
	if (s->sqpoll)
		await_sqpoll_sleep(s);
	n->sent_total = n->requests + warm;
	n->sent_total_bytes = n->bytes + warm_bytes;
	*out = *n;
	return err;
}
