/* retry: schedules of any delays that the configuration takes, at any time of day. */
#include "fuzz.h"
#include "retry.h"
#include "units.h"

static uint64_t take(struct fuzz *fuzz, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | fuzz_byte(fuzz);
	return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	struct retry retry = {.count = 1 + fuzz_byte(&fuzz) % RETRY_DELAYS_MAX};
	const int64_t now = (int64_t)take(&fuzz, 5);

	for (size_t i = 0; i < retry.count; i++)
		retry.delay[i] = 1 + (int64_t)(take(&fuzz, 4) % UNITS_DURATION_MAX);
	for (unsigned attempts = 1; attempts <= retry.count; attempts++) {
		const int64_t delay = retry.delay[attempts - 1];
		const uint32_t random = (uint32_t)take(&fuzz, 4);
		const int64_t next = retry_next(&retry, attempts, now, random);

		assert(!retry_exhausted(&retry, attempts));
		assert(next - now >= delay - delay / 10 && next - now <= delay + delay / 10);
		assert(next > now);
	}
	assert(retry_exhausted(&retry, (unsigned)retry.count + 1));
	return 0;
}
