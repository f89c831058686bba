#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"

struct stage {
	int saved; /* the real stderr */
	int file;  /* what stands in for it */
	struct log log;
};

static int set_stage(void **state)
{
	struct stage *stage = calloc(1, sizeof *stage);

	if (stage == NULL)
		return -1;
	stage->saved = dup(STDERR_FILENO);
	stage->file = memfd_create("stderr", MFD_CLOEXEC);
	if (stage->saved == -1 || stage->file == -1 || dup2(stage->file, STDERR_FILENO) == -1)
		return -1;
	(void)unsetenv("JOURNAL_STREAM");
	log_open(&stage->log, false);
	/* A line ends in the time only where nobody else gives it. */
	stage->log.journal = true;
	*state = stage;
	return 0;
}

static int clear_stage(void **state)
{
	struct stage *stage = *state;

	(void)dup2(stage->saved, STDERR_FILENO);
	(void)close(stage->saved);
	(void)close(stage->file);
	free(stage);
	return 0;
}

/* What has been written to stderr; valid until the next call. */
static const char *written(struct stage *stage)
{
	static char text[65536];
	ssize_t len;

	log_flush(&stage->log);
	len = pread(stage->file, text, sizeof text - 1, 0);
	assert_true(len >= 0);
	text[len] = '\0';
	return text;
}

static void a_line_of_fields(void **state)
{
	struct stage *stage = *state;
	struct log *log = &stage->log;

	log_begin(log, LOG_LEVEL_WARNING, "failed");
	log_text(log, "to", "a@example.net");
	log_text_n(log, "id", "1.M2,A=1", 4);
	log_number(log, "attempt", 3);
	log_tenths(log, "delay", 1234);
	log_tenths(log, "zero", 5);
	log_end(log);
	log_say(log, LOG_LEVEL_ERROR, "error", "what is wrong");
	assert_string_equal(written(stage),
	    "<4>failed to=a@example.net id=1.M2 attempt=3 delay=123.4 zero=0.5\n"
	    "<3>error text=\"what is wrong\"\n");
}

static void values_are_quoted_when_they_need_it(void **state)
{
	struct stage *stage = *state;
	static const char *const cases[][2] = {
	    {"", "\"\""},
	    {"a b", "\"a b\""},
	    {"a\"b", "\"a\\\"b\""},
	    {"a\\b", "\"a\\\\b\""},
	    {"a=b", "\"a=b\""},
	    {"a\nsent id=1", "\"a?sent id=1\""},
	    {"\r\x1b\x7f\t", "\"????\""},
	    {"j\xc3\xb6rg", "j\xc3\xb6rg"},
	};
	char expected[1024] = "<6>x";

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		strcat(expected, " k=");
		strcat(expected, cases[i][1]);
	}
	strcat(expected, "\n");
	log_begin(&stage->log, LOG_LEVEL_INFO, "x");
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		log_text(&stage->log, "k", cases[i][0]);
	log_end(&stage->log);
	assert_string_equal(written(stage), expected);
}

static void long_values_are_cut_and_lines_stay_apart(void **state)
{
	struct stage *stage = *state;
	char value[20000];
	const char *text;
	size_t lines = 0;

	memset(value, '"', sizeof value - 1);
	value[sizeof value - 1] = '\0';
	for (int i = 0; i < 3; i++) {
		log_begin(&stage->log, LOG_LEVEL_INFO, "first");
		for (int field = 0; field < 12; field++)
			log_text(&stage->log, "k", value);
		log_end(&stage->log);
	}
	for (text = written(stage); *text != '\0'; text = strchr(text, '\n') + 1) {
		assert_memory_equal(text, "<6>first k=\"", 12);
		assert_non_null(strchr(text, '\n'));
		lines++;
	}
	assert_int_equal(lines, 3);
}

static void many_lines_are_all_written(void **state)
{
	struct stage *stage = *state;
	const char *text;
	char expected[64];

	for (int i = 0; i < 1000; i++) {
		log_begin(&stage->log, LOG_LEVEL_INFO, "sent");
		log_number(&stage->log, "n", i);
		log_text(&stage->log, "to", "somebody@example.net");
		log_end(&stage->log);
	}
	text = written(stage);
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(
		    expected, sizeof expected, "<6>sent n=%d to=somebody@example.net\n", i);
		assert_memory_equal(text, expected, strlen(expected));
		text += strlen(expected);
	}
	assert_string_equal(text, "");
}

static void the_time_is_last_where_nobody_else_gives_it(void **state)
{
	struct stage *stage = *state;
	const char *text;

	stage->log.journal = false;
	log_say(&stage->log, LOG_LEVEL_INFO, "busy", "x");
	text = written(stage);
	assert_memory_equal(text, "busy text=x time=2", 18);
	assert_int_equal(strlen(text), strlen("busy text=x time=2026-11-22T08:00:00Z\n"));
	assert_string_equal(text + strlen(text) - 2, "Z\n");
}

static void the_journal_is_known_by_its_stream(void **state)
{
	struct stage *stage = *state;
	struct stat st;
	char stream[64];

	assert_int_equal(fstat(stage->file, &st), 0);
	(void)snprintf(
	    stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	log_open(&stage->log, false);
	assert_true(stage->log.journal);
	assert_int_equal(setenv("JOURNAL_STREAM", "1:2", 1), 0);
	log_open(&stage->log, false);
	assert_false(stage->log.journal);
	assert_false(stage->log.terminal);
	(void)unsetenv("JOURNAL_STREAM");
}

static void progress_is_for_terminals(void **state)
{
	struct stage *stage = *state;

	log_progress(&stage->log, "%d sent", 1);
	assert_string_equal(written(stage), "");
	stage->log.journal = false;
	stage->log.terminal = true;
	log_progress(&stage->log, "%d sent", 2);
	log_progress(&stage->log, "%d sent", 3); /* too soon */
	log_begin(&stage->log, LOG_LEVEL_INFO, "sent");
	log_text(&stage->log, "to", "x");
	log_number(&stage->log, "n", 1);
	log_end(&stage->log);
	log_say(&stage->log, LOG_LEVEL_NOTICE, "run", "x");
	log_say(&stage->log, LOG_LEVEL_NOTICE, "run", "y");
	stage->log.verbose = true;
	log_say(&stage->log, LOG_LEVEL_INFO, "sent", "z");
	assert_string_equal(written(stage), "2 sent\r\033[Krun text=x\nrun text=y\nsent text=z\n");
}

int main(void)
{
#define STAGED(test) cmocka_unit_test_setup_teardown(test, set_stage, clear_stage)
	const struct CMUnitTest tests[] = {
	    STAGED(a_line_of_fields),
	    STAGED(values_are_quoted_when_they_need_it),
	    STAGED(long_values_are_cut_and_lines_stay_apart),
	    STAGED(many_lines_are_all_written),
	    STAGED(the_time_is_last_where_nobody_else_gives_it),
	    STAGED(the_journal_is_known_by_its_stream),
	    STAGED(progress_is_for_terminals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
