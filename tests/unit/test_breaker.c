#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "breaker.h"

#define MANY ((size_t)3 * BREAKER_LIMIT)

/* A settled message for one recipient. */
struct letter {
	struct message message;
	struct recipient recipient;
};

/* The relay has answered; CODE is its reply to MAIL FROM, 0 when that was accepted. */
static struct message *answered(struct letter *letter, int code)
{
	*letter = (struct letter){.recipient.asked = true};
	letter->message.verdict = MESSAGE_SETTLED;
	letter->message.envelope.sender = "s@example.com";
	letter->message.refused_at_mail = code;
	letter->message.envelope.recipient = &letter->recipient;
	letter->message.envelope.count = 1;
	return &letter->message;
}

/* In lock step MAIL FROM is refused before a recipient is asked. */
static struct message *refused_in_lock_step(struct letter *letter, int code)
{
	struct message *message = answered(letter, code);

	letter->recipient.asked = false;
	return message;
}

/* Settled here, without a word from the relay. */
static struct message *unsendable(struct letter *letter)
{
	return refused_in_lock_step(letter, 0);
}

static void hold_some(struct breaker *breaker, struct letter *letters, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(breaker_see(breaker, answered(&letters[i], 550)), BREAKER_HOLD);
}

static void assert_holds(struct breaker *breaker, struct letter *letters, size_t count)
{
	assert_int_equal(breaker->count, count);
	for (size_t i = 0; i < count; i++)
		assert_ptr_equal(breaker_take(breaker), &letters[i].message);
	assert_null(breaker_take(breaker));
	assert_int_equal(breaker->count, 0);
}

static struct message *refused_null_sender(struct letter *letter)
{
	struct message *message = answered(letter, 550);

	message->envelope.sender = "";
	return message;
}

/* A rule of the relay against it is no fault of ours: it is recorded in the end. */
static void the_null_sender_trips_nothing(void **state)
{
	struct breaker breaker = {0};
	struct letter letters[MANY];

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(breaker_see(&breaker, refused_null_sender(&letters[i])),
		    i < BREAKER_LIMIT ? BREAKER_HOLD : BREAKER_RECORD);
	assert_false(breaker.tripped);
	for (size_t i = 0; i < BREAKER_LIMIT; i++)
		assert_ptr_equal(breaker_take(&breaker), &letters[i].message);
	assert_null(breaker_take(&breaker));
	assert_int_equal(breaker.aside, 0);
}

/* Where nobody else may send either, it waits with them. */
static void the_null_sender_waits_with_the_others(void **state)
{
	struct breaker breaker = {0};
	struct letter letters[BREAKER_LIMIT + 1], late;

	(void)state;
	assert_int_equal(breaker_see(&breaker, refused_null_sender(&letters[0])), BREAKER_HOLD);
	hold_some(&breaker, letters + 1, BREAKER_LIMIT - 1);
	assert_int_equal(
	    breaker_see(&breaker, answered(&letters[BREAKER_LIMIT], 550)), BREAKER_TRIP);
	assert_int_equal(breaker_see(&breaker, refused_null_sender(&late)), BREAKER_HOLD);
	for (size_t i = 0; i <= BREAKER_LIMIT; i++)
		assert_ptr_equal(breaker_take(&breaker), &letters[i].message);
	assert_ptr_equal(breaker_take(&breaker), &late.message);
	assert_null(breaker_take(&breaker));
}

static void success_passes(void **state)
{
	struct breaker breaker = {0};
	struct letter letters[3];

	(void)state;
	assert_int_equal(breaker_see(&breaker, answered(&letters[0], 0)), BREAKER_RECORD_HELD);
	assert_null(breaker_take(&breaker));
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(breaker_see(&breaker, answered(&letters[1], 550)), BREAKER_RECORD);
	assert_int_equal(breaker_see(&breaker, answered(&letters[2], 0)), BREAKER_RECORD);
	assert_null(breaker_take(&breaker));
}

static void refusals_alike_trip(void **state)
{
	struct breaker breaker = {0};
	struct letter letters[BREAKER_LIMIT];

	(void)state;
	hold_some(&breaker, letters, BREAKER_LIMIT - 1);
	assert_int_equal(
	    breaker_see(&breaker, refused_in_lock_step(&letters[BREAKER_LIMIT - 1], 550)),
	    BREAKER_TRIP);
	assert_holds(&breaker, letters, BREAKER_LIMIT);
}

static void success_gives_back_what_is_held(void **state)
{
	(void)state;
	for (size_t count = 0; count < BREAKER_LIMIT; count++) {
		struct breaker breaker = {0};
		struct letter letters[BREAKER_LIMIT];
		struct letter good;

		hold_some(&breaker, letters, count);
		assert_int_equal(breaker_see(&breaker, answered(&good, 0)), BREAKER_RECORD_HELD);
		assert_holds(&breaker, letters, count);
	}
}

static void other_codes_pass(void **state)
{
	static const int codes[] = {551, 554, 450, 451};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct breaker breaker = {0};
		struct letter letters[BREAKER_LIMIT];
		struct letter other;

		hold_some(&breaker, letters, BREAKER_LIMIT - 1);
		assert_int_equal(breaker_see(&breaker, refused_in_lock_step(&other, codes[i])),
		    BREAKER_RECORD_HELD);
		assert_holds(&breaker, letters, BREAKER_LIMIT - 1);
		assert_int_equal(breaker_see(&breaker, answered(&letters[0], 550)), BREAKER_RECORD);
	}
}

static void unsendable_proves_nothing(void **state)
{
	struct breaker breaker = {0};
	struct letter letters[BREAKER_LIMIT];
	struct letter large;

	(void)state;
	assert_int_equal(breaker_see(&breaker, unsendable(&large)), BREAKER_RECORD);
	hold_some(&breaker, letters, BREAKER_LIMIT - 1);
	assert_int_equal(breaker_see(&breaker, unsendable(&large)), BREAKER_RECORD);
	assert_int_equal(
	    breaker_see(&breaker, answered(&letters[BREAKER_LIMIT - 1], 550)), BREAKER_TRIP);
}

/* With several connections more messages are under way when it trips. */
static void results_after_the_trip(void **state)
{
	struct breaker breaker = {0};
	struct letter letters[MANY];
	struct letter other;

	(void)state;
	hold_some(&breaker, letters, BREAKER_LIMIT - 1);
	(void)breaker_see(&breaker, answered(&letters[BREAKER_LIMIT - 1], 550));
	for (size_t i = BREAKER_LIMIT; i < MANY; i++)
		assert_int_equal(
		    breaker_see(&breaker, answered(&letters[i], i % 2 ? 550 : 554)), BREAKER_HOLD);
	assert_int_equal(breaker_see(&breaker, answered(&other, 0)), BREAKER_RECORD);
	assert_int_equal(breaker_see(&breaker, answered(&other, 450)), BREAKER_RECORD);
	assert_int_equal(breaker_see(&breaker, unsendable(&other)), BREAKER_RECORD);
	assert_holds(&breaker, letters, MANY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(success_passes),
	    cmocka_unit_test(the_null_sender_trips_nothing),
	    cmocka_unit_test(the_null_sender_waits_with_the_others),
	    cmocka_unit_test(refusals_alike_trip),
	    cmocka_unit_test(success_gives_back_what_is_held),
	    cmocka_unit_test(other_codes_pass),
	    cmocka_unit_test(unsendable_proves_nothing),
	    cmocka_unit_test(results_after_the_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
