/*
 * What both fuzz targets share: reading numbers from the input, a ticking timer, and
 * a main() for those who have no libFuzzer (AFL, or one input that was kept).
 */
#ifndef ZCLAB_FUZZ_H
#define ZCLAB_FUZZ_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loopback.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* some libcs lack it */
#endif

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                        \
	do {                                                                    \
		if (!(condition)) {                                             \
			fprintf(stderr, "not so: %s\n", #condition);            \
			abort();                                                \
		}                                                               \
	} while (0)

struct input {
	const uint8_t *at;
	size_t left;
};

/* So many bytes of the input as a number; what is missing reads as 0. */
static inline uint64_t number(struct input *in, unsigned int bytes)
{
	uint64_t value = 0;
	unsigned int i;

	for (i = 0; i < bytes && in->left; i++, in->left--)
		value |= (uint64_t)*in->at++ << (8 * i);
	return value;
}

/* Mostly within a range, so that a case comes far; sometimes any number at all. */
static inline uint64_t mostly(struct input *in, uint64_t low, uint64_t high)
{
	uint64_t how = number(in, 1);

	if (how == 255)
		return number(in, 8);
	if (how == 254)
		return (uint64_t)0 - number(in, 1);
	if (how >= 128)
		return low + (how - 128) % (high - low + 1);
	return low + number(in, 4) % (high - low + 1);
}

static inline int one_in(struct input *in, unsigned int times)
{
	return number(in, 1) % times == times - 1;
}

/* Interrupts this thread, and no other, from time to time. */
static inline timer_t open_timer(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID,
				  .sigev_signo = SIGUSR2 };
	timer_t timer;

	event.sigev_notify_thread_id = gettid();
	must(sigaction(SIGUSR2, &action, NULL), "sigaction");
	must(timer_create(CLOCK_MONOTONIC, &event, &timer), "timer_create");
	return timer;
}

/* Every `ns`; 0: no more. */
static inline void set_timer(timer_t timer, long ns)
{
	struct itimerspec times = { { 0, ns }, { 0, ns } };

	must(timer_settime(timer, 0, &times, NULL), "timer_settime");
}

#ifdef STANDALONE
static void run_file(FILE *file)
{
	static uint8_t bytes[1 << 16];
	size_t size = fread(bytes, 1, sizeof(bytes), file);
	/* In a block of its own size, so that reading beyond it is seen. */
	uint8_t *exact = malloc(size ? size : 1);

	HOLDS(exact);
	memcpy(exact, bytes, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

int main(int argc, char **argv)
{
	int i;

	LLVMFuzzerInitialize(&argc, &argv);
	if (argc == 1)
		run_file(stdin);
	for (i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");

		if (!file) {
			perror(argv[i]);
			return 2;
		}
		run_file(file);
		fclose(file);
	}
	return 0;
}
#endif

#endif
