#include "conffile.h"

static void test_defaults(void **state)
{
	static const int64_t delays[] = {60, 300, 900, 3600, 10800, 21600, 43200, 86400};
	struct config config;
	const struct relay_config *relay;

	load(*state, RELAY(""), CONFIG_SEND, &config);
	assert_string_equal(config.path, ((struct place *)*state)->path);
	assert_string_equal(config.spool, "/var/spool/maildrain");
	assert_null(config.domain);
	assert_int_equal(config.retry.count, 8);
	assert_memory_equal(config.retry.delay, delays, sizeof delays);
	assert_int_equal(config.keep_sent, 7 * 86400);
	assert_true(config.notify.sender);
	assert_int_equal(config.notify.address_count, 0);
	assert_null(config.notify.from);
	assert_int_equal(config.notify.per_run, 10);
	assert_int_equal(config.notify.per_hour, 20);
	assert_int_equal(config.notify.delay_warning, 0);
	assert_true(config_tells(&config));
	assert_null(config.metrics_file);
	assert_null(config.alert_command);
	assert_int_equal(config.relay_count, 1);
	relay = config.relay;
	assert_string_equal(relay->name, "main");
	assert_string_equal(relay->url, "smtp://mx.example.com");
	assert_int_equal(relay->tls, RELAY_TLS_REQUIRED);
	assert_int_equal(relay->tls_min, RELAY_TLS_1_2);
	assert_null(relay->helo);
	assert_null(relay->user);
	assert_null(relay->password);
	assert_null(relay->ca_file);
	assert_null(relay->cert_file);
	assert_null(relay->key_file);
	assert_int_equal(relay->connections, 4);
	assert_true(relay->chunking);
	assert_int_equal(relay->pipeline, 20);
	assert_int_equal(relay->timeout.connect, 30);
	assert_int_equal(relay->timeout.greeting, 300);
	assert_int_equal(relay->timeout.command, 300);
	assert_int_equal(relay->timeout.data, 120);
	assert_int_equal(relay->timeout.block, 180);
	assert_int_equal(relay->timeout.dot, 600);
	config_free(&config);
	is_empty(&config);
}

static void test_every_option(void **state)
{
	static const char text[] =
	    "spool = '/srv/mail' retry = {\"1s\", 2m,} keep_sent = 0 domain = shop.example\n"
	    "relay one {\n"
	    " url = \"smtps://[::1]:465\" tls = required tls_min_version = \"1.3\"\n"
	    " helo = www.example.com user = \"me # or you\"\n"
	    " password_file = \"${TEST_FOLDER}/password\"\n"
	    " ca_file = \"${TEST_FOLDER}/other\" cert_file = \"${TEST_FOLDER}/other\"\n"
	    " key_file = \"${TEST_UNSET:-${TEST_FOLDER}/other}\"\n"
	    " connections = 100 timeout_connect = 1s timeout_greeting = 2s timeout_command = 3s\n"
	    " timeout_data = 4s timeout_block = 5s timeout_dot = 1h\n"
	    " chunking = never pipeline = 1000\n"
	    "}\n"
	    "relay two { url = \"smtp://localhost:2525\" tls = opportunistic }\n"
	    "relay three { url = \"smtp://192.0.2.1\" tls = \"none\" }\n";
	static const char nested[] = "\"${TEST_UNSET:-${TEST_FOLDER}/other}\"";
	struct place *place = *state;
	char flat[sizeof text];
	char *at;
	struct config config;
	const struct relay_config *relay;

	/* A default with a variable in it is no syntax of libconfuse's. */
	refuses(state, text, 7, "without an end");
	strcpy(flat, text);
	at = strstr(flat, nested);
	assert_non_null(at);
	memset(at, ' ', strlen(nested));
	memcpy(at, "\"${TEST_FOLDER}/other\"", strlen("\"${TEST_FOLDER}/other\""));

	write_file(place->password, "s3cret\n", 7);
	write_file(place->other, "x", 1);
	load(place, flat, CONFIG_SEND, &config);
	assert_string_equal(config.spool, "/srv/mail");
	assert_string_equal(config.domain, "shop.example");
	assert_int_equal(config.retry.count, 2);
	assert_int_equal(config.retry.delay[0], 1);
	assert_int_equal(config.retry.delay[1], 120);
	assert_int_equal(config.keep_sent, 0);
	assert_int_equal(config.relay_count, 3);
	relay = &config.relay[0];
	assert_string_equal(relay->name, "one");
	assert_string_equal(relay->url, "smtps://[::1]:465");
	assert_int_equal(relay->tls_min, RELAY_TLS_1_3);
	assert_string_equal(relay->helo, "www.example.com");
	assert_string_equal(relay->user, "me # or you");
	assert_string_equal(relay->password, "s3cret");
	assert_string_equal(relay->ca_file, place->other);
	assert_string_equal(relay->cert_file, place->other);
	assert_string_equal(relay->key_file, place->other);
	assert_int_equal(relay->connections, 100);
	assert_false(relay->chunking);
	assert_int_equal(relay->pipeline, 1000);
	assert_int_equal(relay->timeout.connect, 1);
	assert_int_equal(relay->timeout.greeting, 2);
	assert_int_equal(relay->timeout.command, 3);
	assert_int_equal(relay->timeout.data, 4);
	assert_int_equal(relay->timeout.block, 5);
	assert_int_equal(relay->timeout.dot, 3600);
	assert_string_equal(config.relay[1].name, "two");
	assert_int_equal(config.relay[1].tls, RELAY_TLS_OPPORTUNISTIC);
	assert_string_equal(config.relay[2].name, "three");
	assert_int_equal(config.relay[2].tls, RELAY_TLS_NONE);
	config_free(&config);
}

/* What libconfuse alone would take, or would report with a line that is not the right one. */
static void test_traps(void **state)
{
	refuses(state, "# one\n# two\n" RELAY("connections = 010"), 5, "without leading zeros");
	refuses(state, "spool = \"/a\"\n/* x\n */\nspool = \"/b\"\n", 4, "already set on line 1");
	refuses(state, "retry = {1m}\nretry = {2m}\n", 2, "already set on line 1");
	refuses(state, RELAY("tls = none\n\ntls = required"), 5, "already set on line 3");
	refuses(state, RELAY("") "# x\n" RELAY(""), 6, "name on line 1");
	refuses(state, "\nrelay \"main\" {\nurl = \"smtp://x\"\n", 2, "never closed");
	refuses(state, "spool = \"${TEST_UNSET}/x\"", 1, "${TEST_UNSET} is not set");
	refuses(state, RELAY("user = ${TEST_UNSET}"), 3, "${TEST_UNSET} is not set");
	refuses(state, "relay a {\nurl = smtp://x\n}", 2, "double quotes");
	refuses(state, "spool = /a#b", 1, "double quotes");
	refuses(state, "\ninclude(\"/etc/passwd\")", 2, "include is not supported");
	refuses(state, "retry += {1m}", 1, "'+='");
}

static void test_unknown(void **state)
{
	refuses(state, "spol = \"/a\"", 1, "did you mean 'spool'?");
	refuses(state, RELAY("time_out_dot = 1s"), 3, "did you mean 'timeout_dot'?");
	refuses(state, "zzz = 1", 1, "unknown option 'zzz'; remove it");
	refuses(state, "x = 1", 1, "unknown option 'x'; remove it");
	refuses(state, "relais m { }", 1, "did you mean 'relay'?");
	refuses(state, "url = \"smtp://x\"", 1, "move it into relay");
	refuses(state, "relay m {\nspool = \"/a\"\n}", 2, "opened on line 1");
	refuses(state, "spool m { }", 1, "spool is no section");
	refuses(state, "relay = \"m\"", 1, "relay is a section");
	refuses(state, "spool = {\"/a\"}", 1, "not a list");
}

/* The one kind of fault that is left to libconfuse, with comments before it. */
static void test_libconfuse_errors(void **state)
{
	refuses(state, "# x\n/* y\n*/ // z\nrelay {\nurl = \"smtp://x\"\n}", 4,
	    "missing title for section 'relay'");
}

static void test_top_values(void **state)
{
	refuses(state, "spool = \"var/spool\"", 1, "absolute path");
	refuses(state, "\nspool = \"//\"", 2, "folder of its own");
	refuses(state, "spool = \"\"", 1, "empty value");
	refuses(state, "spool = \"${TEST_UNSET:-}\"", 1, "spool is empty");
	refuses(state, "retry = {}", 1, "write 1 to 64");
	refuses(state, "retry = {1m, 0}", 1, "retry = \"0\"");
	refuses(state, "retry = {1m,\n 5}", 1, "retry = \"5\"");
	refuses(state, "keep_sent = 7", 1, "keep_sent = \"7\"");
	refuses(state, "keep_sent = -1d", 1, "must be a duration");
}

static void test_notify(void **state)
{
	struct config config;

	load(*state,
	    "notify = {\"a@x\", sender, \"\xc3\xa4@x\"} notify_from = \"m@x\" notify_per_run = 1\n"
	    "notify_per_hour = 10000 delay_warning = 1s\n",
	    CONFIG_INSPECT, &config);
	assert_true(config.notify.sender);
	assert_int_equal(config.notify.address_count, 2);
	assert_string_equal(config.notify.address[0], "a@x");
	assert_string_equal(config.notify.address[1], "\xc3\xa4@x");
	assert_string_equal(config.notify.from, "m@x");
	assert_int_equal(config.notify.per_run, 1);
	assert_int_equal(config.notify.per_hour, 10000);
	assert_int_equal(config.notify.delay_warning, 1);
	config_free(&config);
	is_empty(&config);
	load(*state, "notify = {}\n", CONFIG_INSPECT, &config);
	assert_false(config_tells(&config));
	config_free(&config);
	load(*state, "notify = {\"a@x\"}\n", CONFIG_INSPECT, &config);
	assert_false(config.notify.sender);
	assert_true(config_tells(&config));
	config_free(&config);
	refuses(state, "\nnotify = {sendr}", 2, "notify = \"sendr\": must be the word sender");
	refuses(state, "notify = {sender, \"a b@x\"}", 1, "notify = \"a b@x\"");
	refuses(state, "notify = {\"\"}", 1, "empty");
	refuses(state, "notify_from = \"a\"", 1, "must be an address");
	refuses(state, "notify_from = \"\xc3\xa4@x\"", 1, "ASCII");
	refuses(state, "notify_per_run = 0", 1, "1 to 10000");
	refuses(state, "notify_per_run = 10001", 1, "1 to 10000");
	refuses(state, "notify_per_hour = 010", 1, "1 to 10000");
	refuses(state, "delay_warning = 0", 1, "remove it");
	refuses(state, "delay_warning = 4", 1, "must be a duration");
}

static void test_notify_limit(void **state)
{
	char text[512] = "notify = {sender";
	struct config config;

	for (int i = 0; i < CONFIG_NOTIFY_MAX; i++)
		(void)sprintf(text + strlen(text), ",\"a%d@x\"", i);
	strcat(text, "}");
	load(*state, text, CONFIG_INSPECT, &config);
	assert_int_equal(config.notify.address_count, CONFIG_NOTIFY_MAX);
	config_free(&config);
	strcpy(strchr(text, '}'), ",\"b@x\"}");
	refuses(state, text, 1, "17th");
}

static void test_watch_values(void **state)
{
	char text[160];
	struct config config;

	refuses(state, "metrics_file = \"m.prom\"", 1, "absolute path");
	refuses(state, "\nalert_command = {\"page\", \"/x\"}", 2, "absolute path");
	refuses(
	    state, "alert_command = {\"/page\", \"${TEST_UNSET:-}\"}", 1, "alert_command is empty");
	load(*state, "metrics_file = \"/x/m.prom\" alert_command = {\"/page\", \"a b\"}",
	    CONFIG_INSPECT, &config);
	assert_string_equal(config.metrics_file, "/x/m.prom");
	assert_string_equal(config.alert_command[0], "/page");
	assert_string_equal(config.alert_command[1], "a b");
	assert_null(config.alert_command[2]);
	config_free(&config);
	is_empty(&config);
	(void)strcpy(text, "alert_command = {\"/a\"");
	for (int i = 1; i < 32; i++)
		(void)strcat(text, ", b");
	(void)strcat(text, "}");
	load(*state, text, CONFIG_INSPECT, &config);
	assert_string_equal(config.alert_command[31], "b");
	config_free(&config);
	(void)strcpy(strrchr(text, '}'), ", b}");
	refuses(state, text, 1, "33 words");
}

static void test_retry_limit(void **state)
{
	char text[8 + 64 * 4 + 8] = "retry = {1m";
	struct config config;
	int i;

	for (i = 1; i < 64; i++)
		strcat(text, ",1m");
	strcat(text, "}");
	load(*state, text, CONFIG_INSPECT, &config);
	assert_int_equal(config.retry.count, 64);
	config_free(&config);
	strcpy(strchr(text, '}'), ",1m}");
	refuses(state, text, 1, "has 65 delays");
}

static void test_relay_limit(void **state)
{
	char text[65 * 48] = "";
	struct config config;
	int i;

	for (i = 0; i < CONFIG_RELAYS_MAX; i++)
		(void)sprintf(text + strlen(text), "relay r%d { url = \"smtp://x\" }\n", i);
	load(*state, text, CONFIG_SEND, &config);
	assert_int_equal(config.relay_count, CONFIG_RELAYS_MAX);
	assert_string_equal(config.relay[63].name, "r63");
	config_free(&config);
	strcat(text, "relay r64 { url = \"smtp://x\" }\n");
	refuses(state, text, 65, "more than 64 relays");
}

static void test_relay_values(void **state)
{
	refuses(state, "relay \"a b\" { }", 1, "the name of a relay must");
	refuses(state, "\n\nrelay \"a\" { }", 3, "relay \"a\" has no url");
	refuses(state, "relay a {\nurl = \"ftp://x\"\n}", 2, "smtp://");
	refuses(state, RELAY("tls = yes"), 3, "\"required\" or \"opportunistic\" or \"none\"");
	refuses(state, RELAY("tls_min_version = \"1.1\""), 3, "\"1.2\" or \"1.3\"");
	refuses(state, "relay a {\nurl = \"smtps://x\"\ntls = none\n}", 3, "TLS from the first");
	refuses(state, RELAY("helo = \"a b\""), 3, "helo = \"a b\": must be a host name");
	refuses(state, RELAY("connections = 0"), 3, "1 to 100");
	refuses(state, RELAY("connections = 101"), 3, "1 to 100");
	refuses(state, RELAY("connections = -1"), 3, "1 to 100");
	refuses(state, RELAY("connections = 0x4"), 3, "1 to 100");
	refuses(state, RELAY("pipeline = 0"), 3, "1 to 1000");
	refuses(state, RELAY("pipeline = 1001"), 3, "1 to 1000");
	refuses(state, RELAY("chunking = true"), 3, "\"never\" or \"auto\"");
	refuses(state, RELAY("timeout_dot = 0"), 3, "1s to 1h");
	refuses(state, RELAY("timeout_connect = 61m"), 3, "1s to 1h");
	refuses(state, RELAY("timeout_block = 30"), 3, "timeout_block = \"30\"");
	refuses(state, RELAY("ca_file = ca.pem"), 3, "absolute path");
	refuses(state, RELAY("key_file = \"/k\""), 3, "key_file without cert_file");
}

/* A password in the url is never repeated. */
static void test_url_with_password(void **state)
{
	struct place *place = *state;
	static const char text[] = "relay a { url = \"smtp://me:hunter2@x\" }";
	struct config config;
	struct error err = {0};

	refuses(state, text, 1, "use the options user and password_file");
	write_file(place->path, text, strlen(text));
	assert_int_equal(config_load(place->path, CONFIG_SEND, &config, &err), -1);
	assert_null(strstr(err.text, "hunter2"));
}

static void test_environment(void **state)
{
	assert_int_equal(setenv("TEST_CONTROL", "/a\nb", 1), 0);
	refuses(state, "\nspool = \"${TEST_CONTROL}\"", 2, "spool holds a control character");
	assert_int_equal(unsetenv("TEST_CONTROL"), 0);
}

static void test_long_value(void **state)
{
	char text[1100] = "spool = \"/";
	size_t len = strlen(text);
	struct config config;

	memset(text + len, 'a', 1023);
	text[len + 1023] = '"';
	load(*state, text, CONFIG_INSPECT, &config);
	assert_int_equal(strlen(config.spool), 1024);
	config_free(&config);
	text[len + 1023] = 'a';
	text[len + 1024] = '"';
	refuses(state, text, 1, "longer than 1024 bytes");
}

static void test_no_relay(void **state)
{
	refuses_to_send(state, "", 0, "no relay to send to");
	refuses_to_send(state, "# nothing\n", 0, "no relay to send to");
}

static void test_login(void **state)
{
	static const char password[] = "password_file = \"/nonexistent/x\"";
	static const char *const local[] = {"localhost", "127.0.0.9:25", "[::1]:25"};
	char text[256];
	struct config config;
	size_t i;

	refuses(state, RELAY("user = a"), 3, "user without password_file");
	refuses(state, RELAY("\npassword_file = \"/x\""), 4, "password_file without user");
	refuses(state, RELAY("tls = none\nuser = a\npassword_file = \"/x\""), 4, "unencrypted");
	refuses(state, RELAY("user = a\npassword_file = \"/x\"\ntls = opportunistic"), 3,
	    "could go to mx.example.com unencrypted");
	for (i = 0; i < 3; i++) {
		(void)snprintf(text, sizeof text,
		    "relay a { url = \"smtp://%s\" tls = none user = u %s }", local[i], password);
		load(*state, text, CONFIG_INSPECT, &config);
		assert_string_equal(config.relay[0].user, "u");
		assert_null(config.relay[0].password);
		config_free(&config);
	}
}

static const char *const login = RELAY("user = a\npassword_file = \"${TEST_FOLDER}/password\"");

/* What CONFIG_SEND makes of a password file with these bytes: EXPECTED, or WHY it is refused. */
static void password_is(
    void **state, const char *bytes, size_t len, const char *expected, const char *why)
{
	struct place *place = *state;
	struct config config;

	write_file(place->password, bytes, len);
	if (!expected) {
		refuses_to_send(state, login, 4, why);
		return;
	}
	load(place, login, CONFIG_SEND, &config);
	assert_string_equal(config.relay[0].password, expected);
	config_free(&config);
}

static void test_password(void **state)
{
	password_is(state, "x", 1, "x", NULL);
	password_is(state, "x y\xc3\xa4#\"\n", 8, "x y\xc3\xa4#\"", NULL);
	password_is(state, " x \r\n", 5, " x ", NULL);
	password_is(state, "", 0, NULL, "holds no password");
	password_is(state, "\n", 1, NULL, "holds no password");
	password_is(state, "\r\n", 2, NULL, "holds no password");
	password_is(state, "x\n\n", 3, NULL, "second line");
	password_is(state, "x\ny", 3, NULL, "second line");
	password_is(state, "x\r", 2, NULL, "control character");
	password_is(state, "x\0y", 3, NULL, "control character");
	password_is(state, "\0", 1, NULL, "control character");
	password_is(state, "x\ty", 3, NULL, "control character");
}

/* The longest password, with each end of line, and one byte more. */
static void test_long_password(void **state)
{
	char longest[1025] = "", bytes[1028];

	memset(longest, 'p', 1024);
	memset(bytes, 'p', sizeof bytes);
	password_is(state, bytes, 1024, longest, NULL);
	password_is(state, bytes, 1025, NULL, "longer than 1024");
	password_is(state, bytes, sizeof bytes, NULL, "longer than 1024");
	bytes[1024] = '\n';
	password_is(state, bytes, 1025, longest, NULL);
	memcpy(bytes + 1024, "\r\n\n", 3);
	password_is(state, bytes, 1026, longest, NULL);
	password_is(state, bytes, 1027, NULL, "longer than 1024");
}

static void test_password_file(void **state)
{
	struct place *place = *state;
	static const unsigned open_modes[] = {0644, 0604, 0602, 0641};
	size_t i;

	refuses_to_send(state, login, 4, "it does not exist");
	for (i = 0; i < 4; i++) {
		write_file(place->password, "x", 1);
		assert_int_equal(chmod(place->password, open_modes[i]), 0);
		refuses_to_send(state, login, 4, "run: chmod 0640 ");
	}
	assert_int_equal(unlink(place->password), 0);
	assert_int_equal(mkfifo(place->password, 0600), 0);
	refuses_to_send(state, login, 4, "no regular file");
	assert_int_equal(unlink(place->password), 0);
	assert_int_equal(mkdir(place->password, 0700), 0);
	refuses_to_send(state, login, 4, "it is a directory");
	assert_int_equal(rmdir(place->password), 0);
	refuses_to_send(state, RELAY("user = a\npassword_file = x"), 4, "absolute path");
}

static void test_unset_in_password_file(void **state)
{
	static const char text[] = RELAY("user = a\npassword_file = \"${TEST_UNSET}\"");
	struct config config;

	refuses_as(*state, text, CONFIG_SEND, 4, "${TEST_UNSET} is not set", EX_CONFIG);
	load(*state, text, CONFIG_INSPECT, &config);
	config_free(&config);
}

static void test_tls_files(void **state)
{
	refuses_to_send(state, RELAY("ca_file = \"/nonexistent/ca\""), 3, "it does not exist");
	refuses_to_send(state, RELAY("cert_file = \"/tmp\""), 3, "it is a directory");
	refuses_to_send(state,
	    RELAY("cert_file = \"${TEST_FOLDER}/maildrain.conf\"\nkey_file = \"/nonexistent/k\""),
	    4, "it does not exist");
}

static void fails_to_load(const char *path, const char *why, int status)
{
	struct config config;
	struct error err = {0};

	assert_int_equal(config_load(path, CONFIG_INSPECT, &config, &err), -1);
	assert_int_equal(err.status, status);
	if (strncmp(err.text, path, strlen(path)) != 0 || !strstr(err.text, why))
		fail_msg("%s", err.text);
	is_empty(&config);
}

static void test_file(void **state)
{
	struct place *place = *state;
	size_t size = 1024 * 1024;
	char *text = malloc(size + 1);
	struct config config;
	struct error err = {0};

	assert_non_null(text);
	fails_to_load(place->path, "it does not exist", EX_CONFIG);
	fails_to_load(place->folder, "it is a directory", EX_CONFIG);
	fails_to_load("/dev/null", "no regular file", EX_CONFIG);
	assert_int_equal(mkfifo(place->path, 0600), 0);
	fails_to_load(place->path, "no regular file", EX_CONFIG);
	assert_int_equal(unlink(place->path), 0);

	write_file(place->path, "# a\n# b\0c\n", 10);
	fails_to_load(place->path, ":2: control character 0x00", EX_CONFIG);

	memset(text, '\n', size + 1);
	write_file(place->path, text, size);
	assert_int_equal(config_load(place->path, CONFIG_INSPECT, &config, &err), 0);
	config_free(&config);
	write_file(place->path, text, size + 1);
	fails_to_load(place->path, "larger than 1 MiB", EX_CONFIG);
	free(text);
}

/* For root, who may read everything, the test is done as another user. */
static void test_permission(void **state)
{
	struct place *place = *state;
	bool root = geteuid() == 0;
	struct config config;
	struct error err = {0};

	write_file(place->path, login, strlen(login));
	write_file(place->password, "x", 1);
	assert_int_equal(chmod(place->password, 0), 0);
	assert_int_equal(chmod(place->path, 0644), 0);
	assert_int_equal(chmod(place->folder, 0755), 0);
	assert_true(!root || seteuid(65534) == 0);
	assert_int_equal(config_load(place->path, CONFIG_SEND, &config, &err), -1);
	assert_true(!root || seteuid(0) == 0);
	assert_int_equal(err.status, EX_NOPERM);
	assert_non_null(strstr(err.text, ":4: "));
	assert_non_null(strstr(err.text, "permission denied"));

	assert_int_equal(chmod(place->path, 0), 0);
	assert_true(!root || seteuid(65534) == 0);
	fails_to_load(place->path, "permission denied", EX_NOPERM);
	assert_true(!root || seteuid(0) == 0);
}

/* The example loads as it is shipped, and its password file follows systemd. */
static void test_example(void **state)
{
	static const char example[] = "etc/maildrain.conf";
	struct place *place = *state;
	struct config config;
	struct error err = {0};

	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
	if (config_load(example, CONFIG_INSPECT, &config, &err))
		fail_msg("%s", err.text);
	assert_string_equal(config.spool, "/var/spool/maildrain");
	assert_int_equal(config.relay_count, 1);
	assert_string_equal(config.relay[0].name, "main");
	assert_non_null(config.relay[0].user);
	config_free(&config);

	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", place->folder, 1), 0);
	(void)snprintf(place->other, sizeof place->other, "%s/smtp-password", place->folder);
	write_file(place->other, "s3cret\n", 7);
	if (config_load(example, CONFIG_SEND, &config, &err))
		fail_msg("%s", err.text);
	assert_string_equal(config.relay[0].password, "s3cret");
	config_free(&config);
	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_defaults),
	    TEST(test_every_option),
	    TEST(test_traps),
	    TEST(test_unknown),
	    TEST(test_libconfuse_errors),
	    TEST(test_top_values),
	    TEST(test_notify),
	    TEST(test_notify_limit),
	    TEST(test_watch_values),
	    TEST(test_retry_limit),
	    TEST(test_relay_limit),
	    TEST(test_relay_values),
	    TEST(test_url_with_password),
	    TEST(test_environment),
	    TEST(test_long_value),
	    TEST(test_no_relay),
	    TEST(test_login),
	    TEST(test_password),
	    TEST(test_long_password),
	    TEST(test_password_file),
	    TEST(test_unset_in_password_file),
	    TEST(test_tls_files),
	    TEST(test_file),
	    TEST(test_permission),
	    TEST(test_example),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
