/* credential: what a program prints becomes a password or a token; a token is kept and renewed. */
#include "folder.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "credential.h"

/* A relay whose program is SCRIPT for the shell; $0 is the folder. */
struct relay {
	struct relay_config config;
	char *argv[5];
};

static char *word(const char *text)
{
	return (char *)(uintptr_t)text;
}

static void set_relay(struct relay *relay, const char *script, const char *folder)
{
	*relay = (struct relay){
	    .config = {.name = word("main"), .url = word("smtp://h"), .user = word("site")},
	    .argv = {word("/bin/sh"), word("-c"), word(script), word(folder)}};
}

static void set_token(struct relay *relay, const char *script, void **state)
{
	set_relay(relay, script, *state);
	relay->config.token_command = relay->argv;
}

static void set_password(struct relay *relay, const char *script, void **state)
{
	set_relay(relay, script, *state);
	relay->config.password_command = relay->argv;
}

/* Goes on to the end of what is under way. */
static enum credential_state finish(struct credential *credential)
{
	struct waits waits = {0};
	struct error err;

	while (credential_state(credential) == CREDENTIAL_WORKING) {
		waits_begin(&waits, 20000);
		credential_prepare(credential, &waits);
		assert_int_equal(waits_wait(&waits, &err), 0);
		credential_work(credential, &waits);
	}
	waits_free(&waits);
	return credential_state(credential);
}

static void expect_ready(const struct relay *relay, const char *password, const char *token)
{
	struct credential credential;
	struct error err;

	assert_int_equal(credential_get(&credential, &relay->config, &err), 0);
	assert_string_equal(credential.user, "site");
	if (password != NULL)
		assert_string_equal(credential.password, password);
	else
		assert_null(credential.password);
	if (token != NULL)
		assert_string_equal(credential.token, token);
	else
		assert_null(credential.token);
	credential_free(&credential);
	assert_null(credential.password);
	assert_null(credential.token);
}

/* Why it fails, and not with what it has printed on its output. */
static void expect_failed(const struct relay *relay, const char *why)
{
	struct credential credential;
	struct error err;
	char *advice;

	assert_int_equal(credential_get(&credential, &relay->config, &err), -1);
	assert_int_equal(credential_state(&credential), CREDENTIAL_FAILED);
	assert_int_equal(err.status, EX_TEMPFAIL);
	advice = strchr(err.text, '\n');
	assert_non_null(advice);
	*advice = '\0';
	assert_string_equal(err.text, why);
	assert_string_equal(credential_why(&credential), why);
	assert_string_equal(advice + 1, credential_advice(&credential));
	assert_null(credential.password);
	assert_null(credential.token);
	credential_free(&credential);
}

/* How often the program that writes a line into the file "asked" was started. */
static size_t asked(void **state)
{
	char path[128];
	FILE *file = fopen(folder_path(*state, "asked", path), "r");
	size_t lines = 0;
	int c;

	if (file == NULL)
		return 0;
	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	assert_int_equal(fclose(file), 0);
	return lines;
}

/* ---- what needs no program ---- */

static void what_the_config_has_is_there_at_once(void **state)
{
	struct relay relay;
	struct credential credential;

	set_relay(&relay, "", *state);
	relay.config.password = word("tiger");
	relay.config.session_token = word("aws");
	credential_begin(&credential, &relay.config);
	assert_int_equal(credential_state(&credential), CREDENTIAL_READY);
	assert_string_equal(credential.password, "tiger");
	assert_string_equal(credential.session_token, "aws");
	assert_null(credential.token);
	assert_false(credential_renew(&credential));
	credential_free(&credential);
	expect_ready(&relay, "tiger", NULL);
}

/* ---- password_command ---- */

static void the_first_line_is_the_password(void **state)
{
	struct relay relay;

	set_password(&relay, "printf 'correct horse\\nlogin: site\\n'", state);
	expect_ready(&relay, "correct horse", NULL);
	set_password(&relay, "printf ' no end '", state);
	expect_ready(&relay, " no end ", NULL);
	set_password(&relay, "printf 'crlf\\r\\n'", state);
	expect_ready(&relay, "crlf", NULL);
}

static void what_can_be_no_password_is_said_so(void **state)
{
	struct relay relay;

	set_password(&relay, "echo", state);
	expect_failed(&relay, "password_command: /bin/sh printed no password on the first line of "
			      "its output");
	set_password(&relay, ":", state);
	expect_failed(&relay, "password_command: /bin/sh printed no password on the first line of "
			      "its output");
	set_password(&relay, "printf 's3cr3t\\tx\\n'", state);
	expect_failed(&relay, "password_command: /bin/sh printed a control character on the first "
			      "line of its output");
	set_password(&relay, "printf '%01025d' 3", state);
	expect_failed(&relay, "password_command: /bin/sh printed a first line longer than 1024 "
			      "bytes, which is no password");
}

static void a_password_is_asked_for_once(void **state)
{
	struct relay relay;
	struct credential credential;

	set_password(&relay, "echo x >>$0/asked; echo tiger", state);
	credential_begin(&credential, &relay.config);
	assert_int_equal(finish(&credential), CREDENTIAL_READY);
	assert_false(credential_renew(&credential));
	assert_int_equal(asked(state), 1);
	credential_free(&credential);
}

/* ---- programs that fail ---- */

static void a_program_that_fails_is_quoted(void **state)
{
	struct relay relay;

	set_token(&relay, "echo s3cr3t; echo 'no such account' >&2; echo more >&2; exit 3", state);
	expect_failed(&relay, "token_command: /bin/sh failed with exit status 3: no such account");
	set_password(&relay, "exit 1", state);
	expect_failed(&relay, "password_command: /bin/sh failed with exit status 1");
	set_token(&relay, "kill -TERM $$", state);
	expect_failed(&relay, "token_command: /bin/sh was ended by signal 15");
	set_token(&relay, "echo 'one word' here", state);
	expect_failed(&relay, "token_command: /bin/sh printed something that is no token: it must "
			      "be one word, or JSON with access_token");
	set_token(&relay, "head -c 65537 /dev/zero | tr '\\0' x", state);
	expect_failed(&relay, "token_command: /bin/sh printed more than 65536 bytes");
}

static void a_program_that_is_not_there(void **state)
{
	struct relay relay;

	set_token(&relay, "", state);
	relay.argv[0] = word("/nowhere/oama");
	expect_failed(
	    &relay, "token_command: can't start /nowhere/oama: No such file or directory");
}

/* ---- token_command ---- */

static void a_token_is_taken_bare_or_from_json(void **state)
{
	struct relay relay;

	set_token(&relay, "echo ya29.a", state);
	expect_ready(&relay, NULL, "ya29.a");
	set_token(&relay, "echo '{\"access_token\": \"ya29.b\"}'", state);
	expect_ready(&relay, NULL, "ya29.b");
}

/* Each call gives another: a1, a2, … that expires in $EXPIRES_IN seconds. */
static const char counting[] =
    "echo x >>$0/asked; n=$(wc -l <$0/asked | tr -d ' ')\n"
    "echo \"{\\\"access_token\\\": \\\"a$n\\\", \\\"expires_in\\\": $EXPIRES_IN}\"";

static void set_counting(struct relay *relay, void **state, const char *expires_in)
{
	set_token(relay, counting, state);
	assert_int_equal(setenv("EXPIRES_IN", expires_in, 1), 0);
}

static void a_token_is_kept_for_the_next_run(void **state)
{
	struct relay relay;

	set_counting(&relay, state, "3600");
	expect_ready(&relay, NULL, "a1");
	expect_ready(&relay, NULL, "a1");
	assert_int_equal(asked(state), 1);
}

static void a_token_is_kept_until_a_minute_before_its_end(void **state)
{
	struct relay relay;

	set_counting(&relay, state, "60");
	expect_ready(&relay, NULL, "a1");
	expect_ready(&relay, NULL, "a2");
	set_counting(&relay, state, "70");
	expect_ready(&relay, NULL, "a3");
	expect_ready(&relay, NULL, "a3");
}

static void a_token_without_an_end_is_not_kept(void **state)
{
	struct relay relay;

	set_counting(&relay, state, "null");
	expect_ready(&relay, NULL, "a1");
	expect_ready(&relay, NULL, "a2");
}

/* It is another account's, of another server, or from another command. */
static void a_token_for_something_else_is_not_used(void **state)
{
	struct relay relay;

	set_counting(&relay, state, "3600");
	expect_ready(&relay, NULL, "a1");
	relay.config.url = word("smtp://other");
	expect_ready(&relay, NULL, "a2");
	relay.config.name = word("second");
	expect_ready(&relay, NULL, "a3");
	relay.argv[4] = NULL;
	relay.argv[1] = word("-uc");
	expect_ready(&relay, NULL, "a4");
	expect_ready(&relay, NULL, "a4");
}

static void a_kept_token_that_is_refused_is_renewed_once(void **state)
{
	struct relay relay;
	struct credential credential;

	set_counting(&relay, state, "3600");
	expect_ready(&relay, NULL, "a1");
	credential_begin(&credential, &relay.config);
	assert_int_equal(credential_state(&credential), CREDENTIAL_READY);
	assert_true(credential_renew(&credential));
	assert_int_equal(credential_state(&credential), CREDENTIAL_WORKING);
	assert_string_equal(credential.token, "a1");
	assert_int_equal(finish(&credential), CREDENTIAL_READY);
	assert_string_equal(credential.token, "a2");
	assert_false(credential_renew(&credential));
	assert_string_equal(credential.token, "a2");
	credential_free(&credential);
	assert_int_equal(asked(state), 2);
	/* Refused while it was fresh, it is not kept either. */
	expect_ready(&relay, NULL, "a3");
}

static void one_that_is_refused_late_again_and_again_is_not(void **state)
{
	struct relay relay;
	struct credential credential;

	set_counting(&relay, state, "3600");
	credential_begin(&credential, &relay.config);
	for (int64_t minutes = 1; minutes <= 4; minutes *= 2) {
		assert_int_equal(finish(&credential), CREDENTIAL_READY);
		credential.asked_ms -= minutes * 60000 - 10000;
		assert_false(credential_renew(&credential));
		credential.asked_ms -= 10000;
		assert_true(credential_renew(&credential));
	}
	credential_free(&credential);
}

static void one_that_is_renewed_may_fail(void **state)
{
	struct relay relay;
	struct credential credential;

	set_token(&relay,
	    "test ! -e $0/asked && echo x >$0/asked && "
	    "echo '{\"access_token\": \"a\", \"expires_in\": 3600}'",
	    state);
	expect_ready(&relay, NULL, "a");
	credential_begin(&credential, &relay.config);
	assert_true(credential_renew(&credential));
	assert_int_equal(finish(&credential), CREDENTIAL_FAILED);
	assert_false(credential_renew(&credential));
	credential_free(&credential);
}

/* ---- what others get to see ---- */

/* A program that still runs is ended. */
static void it_may_be_given_up(void **state)
{
	struct relay relay;
	struct credential credential;
	const time_t began = time(NULL);

	set_token(&relay, "sleep 20", state);
	credential_begin(&credential, &relay.config);
	assert_int_equal(credential_state(&credential), CREDENTIAL_WORKING);
	credential_free(&credential);
	assert_true(time(NULL) - began < 10);
}

/* It gets half a minute. */
static void a_program_has_its_time(void **state)
{
	struct relay relay;
	struct credential credential;
	struct waits waits = {0};

	set_token(&relay, "sleep 20", state);
	credential_begin(&credential, &relay.config);
	waits_begin(&waits, INT64_MAX);
	credential_prepare(&credential, &waits);
	assert_in_range(waits.most_ms, 20000, 30000);
	waits_free(&waits);
	credential_free(&credential);
}

/* Two halves, so that the whole stands nowhere but in what the program prints. */
static const char front[] = "s3cr3t-";
static const char back[] = "0f-tiger";

/* How often both stand one behind the other in BYTES[0..LEN). */
static size_t count_secret(const char *bytes, size_t len)
{
	const size_t front_len = sizeof front - 1;
	const char *at = bytes;
	const char *end = bytes + len;
	size_t count = 0;

	while ((at = memmem(at, (size_t)(end - at), front, front_len)) != NULL) {
		at += front_len;
		count +=
		    (size_t)(end - at) >= sizeof back - 1 && memcmp(at, back, sizeof back - 1) == 0;
	}
	return count;
}

/* The same in this process's memory from FROM to TO, where that can be read. */
static size_t count_in_region(FILE *memory, unsigned long from, unsigned long to)
{
	static char piece[1 << 20];
	size_t count = 0;

	while (from < to) {
		const unsigned long left = to - from;
		size_t len = left < sizeof piece ? left : sizeof piece;

		if (fseek(memory, (long)from, SEEK_SET) == -1)
			return count;
		len = fread(piece, 1, len, memory);
		if (len == 0)
			return count;
		count += count_secret(piece, len);
		memset(piece, 0, len);
		from += len;
	}
	return count;
}

/* How often the secret stands in memory; not looking at what is too large to be anything but a
 * sanitizer's. */
static size_t count_in_memory(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	FILE *memory = fopen("/proc/self/mem", "r");
	char line[512];
	size_t count = 0;

	assert_non_null(maps);
	assert_non_null(memory);
	assert_int_equal(setvbuf(memory, NULL, _IONBF, 0), 0);
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long from;
		unsigned long to;
		char rights[5];

		if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3 &&
		    strncmp(rights, "rw", 2) == 0 && to - from < 1UL << 28)
			count += count_in_region(memory, from, to);
	}
	assert_int_equal(fclose(memory), 0);
	assert_int_equal(fclose(maps), 0);
	return count;
}

static void expect_cleared(const struct relay *relay, size_t while_there)
{
	struct credential credential;
	struct error err;
	int result = credential_get(&credential, &relay->config, &err);

	/* To be looked at by ourselves. */
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
	assert_int_equal(count_in_memory(), while_there);
	assert_int_equal(result, while_there > 0 ? 0 : -1);
	credential_free(&credential);
	assert_int_equal(count_in_memory(), 0);
}

/* What free(3) itself writes over the start of a block is not enough: the secret is behind it. */
#define PRINT_SECRET(before, after)                                                                \
	"printf '" before "%s%s%s" after "' a-long-beginning-that-may-go s3cr3t- 0f-tiger"

static void nothing_is_left_in_memory(void **state)
{
	static const char *const good_tokens[] = {PRINT_SECRET("", "\\n"),
	    PRINT_SECRET("{\"access_token\": \"", "\", \"expires_in\": 3600}")};
	static const char *const bad_tokens[] = {PRINT_SECRET("", " x"), PRINT_SECRET("\"", ""),
	    PRINT_SECRET("{\"access_token\": \"", "\", x"), PRINT_SECRET("", "\\n") "; exit 1"};
	struct relay relay;

	set_password(&relay, PRINT_SECRET("", "\\nmore"), state);
	expect_cleared(&relay, 1);
	set_password(&relay, PRINT_SECRET("", "\\t"), state);
	expect_cleared(&relay, 0);
	for (size_t i = 0; i < sizeof good_tokens / sizeof good_tokens[0]; i++) {
		set_token(&relay, good_tokens[i], state);
		expect_cleared(&relay, 1);
	}
	/* It was kept, and is found. */
	expect_cleared(&relay, 1);
	for (size_t i = 0; i < sizeof bad_tokens / sizeof bad_tokens[0]; i++) {
		set_token(&relay, bad_tokens[i], state);
		expect_cleared(&relay, 0);
	}
}

static void no_core_is_written_from_then_on(void **state)
{
	const struct rlimit some = {1 << 20, RLIM_INFINITY};
	struct relay relay;
	struct rlimit limit;

	(void)setrlimit(RLIMIT_CORE, &some);
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
	set_token(&relay, "ulimit -c", state);
	expect_ready(&relay, NULL, "0");
	assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
	assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
	assert_int_equal(limit.rlim_cur, 0);
	assert_int_equal(limit.rlim_max, 0);
	/* The leak checker wants to look, and the tests that follow to find nothing set. */
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_the_config_has_is_there_at_once),
	    TEST(the_first_line_is_the_password),
	    TEST(what_can_be_no_password_is_said_so),
	    TEST(a_password_is_asked_for_once),
	    TEST(a_program_that_fails_is_quoted),
	    TEST(a_program_that_is_not_there),
	    TEST(a_token_is_taken_bare_or_from_json),
	    TEST(a_token_is_kept_for_the_next_run),
	    TEST(a_token_is_kept_until_a_minute_before_its_end),
	    TEST(a_token_without_an_end_is_not_kept),
	    TEST(a_token_for_something_else_is_not_used),
	    TEST(a_kept_token_that_is_refused_is_renewed_once),
	    TEST(one_that_is_refused_late_again_and_again_is_not),
	    TEST(one_that_is_renewed_may_fail),
	    TEST(it_may_be_given_up),
	    TEST(a_program_has_its_time),
	    TEST(nothing_is_left_in_memory),
	    TEST(no_core_is_written_from_then_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
