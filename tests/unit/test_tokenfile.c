/* tokenfile: what was kept is found again, by its owner alone, and for what it was got. */
#include "folder.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenfile.h"

#define KEY	UINT64_C(0x0123456789abcdef)
#define EXPIRES INT64_C(1763793600)

static char word[] = "ya29.tiger";
static const struct token kept = {.text = word, .expires = EXPIRES};

static void keep(void)
{
	assert_true(tokenfile_save("main", KEY, &kept));
}

static bool finds(const char *name, uint64_t key, int64_t now)
{
	struct token token;
	const bool found = tokenfile_load(name, key, now, &token);

	if (found) {
		assert_string_equal(token.text, word);
		assert_int_equal(token.expires, EXPIRES);
	} else
		assert_null(token.text);
	token_clear(&token);
	return found;
}

static bool found(void)
{
	return finds("main", KEY, EXPIRES - 1);
}

static void write_file(const char *folder, const char *text, size_t len)
{
	char path[128];
	FILE *file = fopen(folder_path(folder, "token-main", path), "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static void what_is_kept_is_found(void **state)
{
	(void)state;
	assert_false(found());
	keep();
	assert_true(found());
	assert_false(finds("main", KEY, EXPIRES));
	assert_false(finds("main", KEY + 1, EXPIRES - 1));
	assert_false(finds("other", KEY, EXPIRES - 1));
	tokenfile_drop("other");
	assert_true(found());
	tokenfile_drop("main");
	assert_false(found());
	tokenfile_drop("main");
}

static void a_later_one_takes_its_place(void **state)
{
	char earlier[] = "earlier-and-longer-than-the-other";
	const struct token first = {.text = earlier, .expires = EXPIRES};

	(void)state;
	assert_true(tokenfile_save("main", KEY, &first));
	keep();
	assert_true(found());
}

static void it_is_ours_alone_to_read(void **state)
{
	char path[128];
	struct stat st;

	keep();
	assert_int_equal(stat(folder_path(*state, "token-main", path), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(chmod(path, 0640), 0);
	assert_false(found());
	assert_int_equal(chmod(path, 0604), 0);
	assert_false(found());
	assert_int_equal(chmod(path, 0600), 0);
	assert_true(found());
}

static void a_folder_that_others_write_is_not_used(void **state)
{
	keep();
	assert_int_equal(chmod(*state, 0770), 0);
	assert_false(found());
	assert_false(tokenfile_save("main", KEY, &kept));
	assert_int_equal(chmod(*state, 0707), 0);
	assert_false(found());
	assert_int_equal(chmod(*state, 0755), 0);
	assert_true(found());
}

static void what_belongs_to_others_is_not_used(void **state)
{
	char path[128];

	if (geteuid() != 0)
		skip();
	keep();
	assert_int_equal(chown(folder_path(*state, "token-main", path), 65534, 65534), 0);
	assert_false(found());
	keep();
	assert_true(found());
	assert_int_equal(chown(*state, 65534, 65534), 0);
	assert_false(found());
	assert_false(tokenfile_save("main", KEY, &kept));
}

static void no_link_is_followed(void **state)
{
	char path[128];
	char aside[128];
	char link[128];

	keep();
	(void)folder_path(*state, "token-main", path);
	(void)folder_path(*state, "aside", aside);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(symlink(aside, path), 0);
	assert_false(found());
	keep();
	assert_true(found());
	(void)snprintf(link, sizeof link, "%s-link", (const char *)*state);
	assert_int_equal(symlink(*state, link), 0);
	assert_int_equal(setenv("RUNTIME_DIRECTORY", link, 1), 0);
	assert_false(found());
	assert_int_equal(unlink(link), 0);
}

static void a_fifo_is_not_waited_for(void **state)
{
	char path[128];

	assert_int_equal(mkfifo(folder_path(*state, "token-main", path), 0600), 0);
	assert_false(found());
}

static void what_is_not_whole_is_not_used(void **state)
{
	char text[128];
	char path[128];
	FILE *file;
	size_t len;

	keep();
	file = fopen(folder_path(*state, "token-main", path), "r");
	assert_non_null(file);
	len = fread(text, 1, sizeof text, file);
	assert_int_equal(fclose(file), 0);
	for (size_t cut = 0; cut < len; cut++) {
		write_file(*state, text, cut);
		assert_false(found());
	}
	write_file(*state, text, len);
	assert_true(found());
	text[0] ^= 1;
	write_file(*state, text, len);
	assert_false(found());
}

static void what_can_be_no_token_is_not_used(void **state)
{
	static const char *const texts[] = {
	    "maildrain-token 0123456789abcdef 1763793600\n",
	    "maildrain-token 0123456789abcdef 1763793600\n\n",
	    "maildrain-token 0123456789abcdef 1763793600\nya29 tiger\n",
	    "maildrain-token 0123456789abcdef 1763793600\nya29\ntiger\n",
	    "maildrain-token 0123456789abcdef 1763793600 \nya29.tiger\n",
	    "maildrain-token 0123456789abcdef 99999999999999999999\nya29.tiger\n",
	    "maildrain-token 123456789abcdef 1763793600\nya29.tiger\n",
	};
	static const char good[] = "maildrain-token 0123456789abcdef 1763793600\nya29.tiger\n";

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		write_file(*state, texts[i], strlen(texts[i]));
		assert_false(found());
	}
	write_file(*state, good, sizeof good - 1);
	assert_true(found());
}

/* Also one as long as may be, with a draft in the way that a killed run has left. */
static void the_longest_one_is_kept(void **state)
{
	struct token token = {.text = calloc(1, TOKEN_MAX + 1), .expires = INT64_MAX};
	struct token again;
	char path[128];

	assert_non_null(token.text);
	memset(token.text, 'x', TOKEN_MAX);
	assert_int_equal(symlink("/nowhere", folder_path(*state, "token-main.new", path)), 0);
	assert_true(tokenfile_save("main", UINT64_MAX, &token));
	assert_true(tokenfile_load("main", UINT64_MAX, EXPIRES, &again));
	assert_string_equal(again.text, token.text);
	assert_int_equal(access(path, F_OK), -1);
	token_clear(&again);
	token_clear(&token);
}

static void of_several_folders_the_first_is_used(void **state)
{
	char both[160];

	(void)snprintf(both, sizeof both, "%s:/nowhere", (const char *)*state);
	assert_int_equal(setenv("RUNTIME_DIRECTORY", both, 1), 0);
	keep();
	assert_int_equal(setenv("RUNTIME_DIRECTORY", *state, 1), 0);
	assert_true(found());
}

static void without_a_folder_nothing_is_kept(void **state)
{
	(void)state;
	assert_int_equal(setenv("RUNTIME_DIRECTORY", "/nowhere", 1), 0);
	assert_false(tokenfile_save("main", KEY, &kept));
	assert_false(found());
	tokenfile_drop("main");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_is_kept_is_found),
	    TEST(a_later_one_takes_its_place),
	    TEST(it_is_ours_alone_to_read),
	    TEST(a_folder_that_others_write_is_not_used),
	    TEST(what_belongs_to_others_is_not_used),
	    TEST(no_link_is_followed),
	    TEST(a_fifo_is_not_waited_for),
	    TEST(what_is_not_whole_is_not_used),
	    TEST(what_can_be_no_token_is_not_used),
	    TEST(the_longest_one_is_kept),
	    TEST(of_several_folders_the_first_is_used),
	    TEST(without_a_folder_nothing_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
