#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io.h"
#include "staging.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void begin(struct envelope *envelope, const char *const address[], size_t count)
{
	assert_true(envelope_begin(envelope, "a@x"));
	for (size_t i = 0; i < count; i++)
		assert_true(envelope_add(envelope, address[i], strlen(address[i])));
}

static bool is_held(const char *pattern, const char *address)
{
	char *allow[] = {(char *)(uintptr_t)pattern};
	const struct config config = {.allow = allow, .allow_count = 1};
	struct envelope envelope = {0};
	bool held;

	begin(&envelope, &address, 1);
	held = staging_hold(&envelope, &config) == 1;
	assert_int_equal(envelope.recipient[0].held, held);
	assert_int_equal(envelope.recipient[0].state, held ? RECIPIENT_LATER : RECIPIENT_TODO);
	envelope_free(&envelope);
	return held;
}

static void a_pattern_is_of_a_domain_or_of_an_address(void **state)
{
	(void)state;
	assert_false(is_held("example.com", "who@example.com"));
	assert_false(is_held("Example.COM", "Who@eXAMPLE.com"));
	assert_true(is_held("example.com", "who@mail.example.com"));
	assert_true(is_held("example.com", "who@example.com.evil.example"));
	assert_true(is_held("example.com", "example.com@evil.example"));
	assert_true(is_held("example.com", "\"who@example.com\"@evil.example"));
	assert_true(is_held("example.com", "who@notexample.com"));
	assert_false(is_held("*.example.com", "who@mail.example.com"));
	assert_false(is_held("*.example.com", "who@a.b.example.com"));
	assert_true(is_held("*.example.com", "who@example.com"));
	assert_false(is_held("who@example.com", "WHO@example.com"));
	assert_true(is_held("who@example.com", "he@example.com"));
	assert_false(is_held("*+test@example.com", "who+test@example.com"));
	assert_true(is_held("*+test@example.com", "who@example.com"));
}

static void one_of_several_suffices(void **state)
{
	char *allow[] = {(char *)(uintptr_t) "a.example", (char *)(uintptr_t) "me@b.example"};
	static const char *const to[] = {
	    "x@a.example", "x@b.example", "me@b.example", "x@c.example"};
	const struct config config = {.allow = allow, .allow_count = COUNT(allow)};
	struct envelope envelope = {0};

	(void)state;
	begin(&envelope, to, COUNT(to));
	envelope.recipient[3].state = RECIPIENT_DONE;
	assert_int_equal(staging_hold(&envelope, &config), 1);
	assert_false(envelope.recipient[0].held);
	assert_true(envelope.recipient[1].held);
	assert_false(envelope.recipient[2].held);
	assert_false(envelope.recipient[3].held);
	assert_int_equal(envelope.recipient[3].state, RECIPIENT_DONE);
	/* Asked again they are still held. */
	assert_int_equal(staging_hold(&envelope, &config), 1);
	envelope_free(&envelope);
}

/* What the fields say of TO when they have SIZE bytes. */
static const char *fields(char *text, size_t size, const char *const to[], size_t count)
{
	struct envelope envelope = {0};
	char *room = malloc(size);
	size_t len;

	assert_non_null(room);
	begin(&envelope, to, count);
	len = staging_fields(&envelope, room, size);
	assert_true(len < size);
	memcpy(text, room, len);
	text[len] = '\0';
	free(room);
	envelope_free(&envelope);
	return text;
}

static void each_recipient_has_its_field(void **state)
{
	static const char *const to[] = {"b@x", "50%@x", "c,\"d\"@x"};
	char text[512];

	(void)state;
	assert_string_equal(fields(text, sizeof text, to, COUNT(to)),
	    "X-Original-To: b@x\nX-Original-To: 50%@x\nX-Original-To: c,\"d\"@x\n");
}

static void no_address_makes_a_line_or_needs_8_bits(void **state)
{
	static const char *const to[] = {
	    "b@x\nBcc: evil@x", "b@x\r\n\r\nbody", "b\t\x7f@x", "j\xc3\xb6rg%1@x"};
	char text[512];

	(void)state;
	assert_string_equal(fields(text, sizeof text, to, COUNT(to)),
	    "X-Original-To: b@x%0ABcc:%20evil@x\n"
	    "X-Original-To: b@x%0D%0A%0D%0Abody\n"
	    "X-Original-To: b%09%7F@x\n"
	    "X-Original-To: j%C3%B6rg%251@x\n");
}

static void those_without_room_are_counted(void **state)
{
	static const char *const to[] = {"b@x", "c@x", "d@x", "e@x"};
	char text[512];

	(void)state;
	for (size_t size = STAGING_REST; size < 3 * 19 + STAGING_REST; size++)
		assert_non_null(strstr(fields(text, size, to, COUNT(to)), "X-Original-To-More: "));
	assert_string_equal(fields(text, STAGING_REST, to, COUNT(to)), "X-Original-To-More: 4\n");
	assert_string_equal(fields(text, STAGING_REST + 2 * 19, to, COUNT(to)),
	    "X-Original-To: b@x\nX-Original-To: c@x\nX-Original-To-More: 2\n");
}

static void one_too_long_is_cut(void **state)
{
	char address[1000];
	const char *const to[] = {address};
	char text[2000];

	(void)state;
	memset(address, 0xc3, sizeof address - 1);
	address[sizeof address - 1] = '\0';
	assert_int_equal(strlen(fields(text, sizeof text, to, 1)), 15 + 254 * 3 + 1);
}

static void load(struct message *message, const char *text)
{
	char folder[] = "/tmp/test_staging.XXXXXX";
	struct envelope_fault fault;
	int dirfd;
	int fd;

	assert_non_null(mkdtemp(folder));
	dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dirfd, "name", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(io_write(fd, text, strlen(text)), 0);
	assert_int_equal(close(fd), 0);
	message_init(message);
	assert_int_equal(message_load(message, dirfd, "name", &fault), MESSAGE_LOADED);
	assert_int_equal(unlinkat(dirfd, "name", 0), 0);
	assert_int_equal(close(dirfd), 0);
	assert_int_equal(rmdir(folder), 0);
}

static void a_message_is_redirected_and_restored(void **state)
{
	static const char expected[] =
	    "X-Original-To: b@x\r\nX-Original-To: c@x\r\nSubject: s\r\n\r\ntext\r\n";
	struct message message = {.fd = -1};
	char wire[512];
	ssize_t n;
	size_t len = 0;

	(void)state;
	load(&message, "X-Maildrain-From: <a@x>\nX-Maildrain-To: <b@x>\nX-Maildrain-To: <c@x>\n"
		       "X-Maildrain-To: <d@x>\nSubject: s\n\ntext\n");
	message.envelope.recipient[2].state = RECIPIENT_LATER;
	assert_int_equal(staging_redirect(&message, "dev@x"), 0);
	assert_int_equal(message.size.wire, strlen(expected));
	while ((n = message_read(&message, wire + len, sizeof wire - len)) > 0)
		len += (size_t)n;
	assert_int_equal(len, strlen(expected));
	assert_memory_equal(wire, expected, len);
	message_settle(&message, RECIPIENT_DONE, "2.0.0", "250 Ok");
	staging_restore(&message);
	assert_int_equal(message.envelope.count, 3);
	assert_int_equal(message.envelope.recipient[0].state, RECIPIENT_DONE);
	assert_string_equal(message.envelope.recipient[1].reply, "250 Ok");
	assert_int_equal(message.envelope.recipient[2].state, RECIPIENT_LATER);
	assert_string_equal(message.envelope.redirected, "dev@x");
	message_free(&message);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_pattern_is_of_a_domain_or_of_an_address),
	    cmocka_unit_test(one_of_several_suffices),
	    cmocka_unit_test(each_recipient_has_its_field),
	    cmocka_unit_test(no_address_makes_a_line_or_needs_8_bits),
	    cmocka_unit_test(those_without_room_are_counted),
	    cmocka_unit_test(one_too_long_is_cut),
	    cmocka_unit_test(a_message_is_redirected_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
