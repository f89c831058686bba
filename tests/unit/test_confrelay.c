/* What a relay section may say for each kind of relay. */
#include "conffile.h"

/* A relay of another kind than that of RELAY. */
#define KIND(url, options) "relay \"other\" {\nurl = \"" url "\"\n" options "\n}\n"

#define SES	 "ses+https://email.eu-west-1.amazonaws.com"
#define SES_KEY	 "user = AKIA password_file = \"/k\"\n"
#define MAILGUN	 "mailgun+https://api.mailgun.net/v3/mg.example.com"
#define GMAIL	 "gmail+https://gmail.googleapis.com"
#define GRAPH	 "graph+https://graph.microsoft.com"
#define TOKEN	 "token_command = {\"/usr/bin/token\", \"-q\"}\n"
#define PASSWORD "password_command = {\"/usr/bin/pass\", show, smtp}\n"

static void test_defaults(void **state)
{
	struct config config = looked_at(state, RELAY(""));
	const struct relay_config *relay = config.relay;

	assert_int_equal(relay->kind, RELAY_SMTP);
	assert_null(relay->path);
	assert_null(relay->endpoint);
	assert_int_equal(relay->auth, RELAY_AUTH_PASSWORD);
	assert_null(relay->password_command);
	assert_null(relay->token_command);
	assert_null(relay->session_token);
	assert_null(relay->region);
	assert_null(relay->arguments);
	assert_int_equal(relay->weight, 1);
	assert_int_equal(relay->messages_per_connection, 0);
	assert_int_equal(relay->recipients_per_message, 0);
	assert_int_equal(relay->message_size, 0);
	assert_int_equal(relay->rate.count, 0);
	assert_int_equal(relay->quota.count, 0);
	config_free(&config);
	is_empty(&config);
}

static void test_limits(void **state)
{
	struct config config = looked_at(state,
	    RELAY("weight = 1000 messages_per_connection = 1000000 recipients_per_message = 10000\n"
		  "message_size = 25M rate = \"14/s\" quota = \"50000/d\""));
	const struct relay_config *relay = config.relay;

	assert_int_equal(relay->weight, 1000);
	assert_int_equal(relay->messages_per_connection, 1000000);
	assert_int_equal(relay->recipients_per_message, 10000);
	assert_int_equal(relay->message_size, 25 << 20);
	assert_int_equal(relay->rate.count, 14);
	assert_int_equal(relay->rate.seconds, 1);
	assert_int_equal(relay->quota.count, 50000);
	assert_int_equal(relay->quota.seconds, 86400);
	config_free(&config);
	refuses(state, RELAY("weight = 0"), 3, "1 to 1000");
	refuses(state, RELAY("weight = 1001"), 3, "1 to 1000");
	refuses(state, RELAY("messages_per_connection = 1000001"), 3, "0 to 1000000");
	refuses(state, RELAY("recipients_per_message = 10001"), 3, "0 to 10000");
	refuses(state, RELAY("message_size = 0"), 3, "must be a size");
	refuses(state, RELAY("message_size = \"25 MB\""), 3, "must be a size");
	refuses(state, RELAY("rate = \"10/10s\""), 3, "\"14/s\"");
	refuses(state, RELAY("rate = \"14/d\""), 3, "for a day there is quota");
	refuses(state, RELAY("rate = \"0/s\""), 3, "\"14/s\"");
	refuses(state, RELAY("rate = \"1000001/s\""), 3, "\"14/s\"");
	refuses(state, RELAY("quota = \"500/h\""), 3, "there is rate");
	refuses(state, RELAY("quota = \"0/d\""), 3, "\"50000/d\"");
	refuses(state, RELAY("quota = \"10000000/d\""), 3, "up to 9999999");
}

/* Those who look at the spool see them, without a word on what they can't know. */
static void test_limits_for_lookers(void **state)
{
	struct config config;

	load(*state,
	    "relay a { rate = \"14/s\" quota = \"50/d\" }\n"
	    "relay b { rate = \"${TEST_UNSET}\" quota = \"50/h\" weight = 0 }\n",
	    CONFIG_SPOOL, &config);
	assert_int_equal(config.relay[0].rate.count, 14);
	assert_int_equal(config.relay[0].quota.count, 50);
	assert_int_equal(config.relay[1].rate.count, 0);
	assert_int_equal(config.relay[1].quota.count, 0);
	config_free(&config);
}

static void test_rate_units(void **state)
{
	struct config config =
	    looked_at(state, "relay a { url = \"smtp://a\" rate = \"200/m\" }\n"
			     "relay b { url = \"smtp://a\" rate = \"2000/h\" }\n");

	assert_int_equal(config.relay[0].rate.seconds, 60);
	assert_int_equal(config.relay[1].rate.seconds, 3600);
	config_free(&config);
}

static void test_lmtp(void **state)
{
	struct config config =
	    looked_at(state, "relay a { url = \"lmtp://localhost:24\" helo = me.example }\n"
			     "relay b { url = \"lmtp+unix:/run/lmtp\" }\n"
			     "relay c { url = \"lmtp://mx.example.com:24\" tls = none }\n");

	for (int i = 0; i < 3; i++) {
		assert_int_equal(config.relay[i].kind, RELAY_LMTP);
		assert_int_equal(config.relay[i].tls, RELAY_TLS_NONE);
		assert_null(config.relay[i].endpoint);
	}
	assert_null(config.relay[0].path);
	assert_string_equal(config.relay[1].path, "/run/lmtp");
	config_free(&config);
	refuses(state, KIND("lmtp://mx.example.com:24", ""), 2, "unencrypted");
	refuses(state, KIND("lmtp://localhost:24", "tls = required"), 3, "never encrypted");
	refuses(state, KIND("lmtp://localhost:24", "\nuser = a"), 4, "user means nothing");
}

static void test_command(void **state)
{
	struct config config = looked_at(state,
	    KIND("command:/usr/sbin/sendmail", "arguments = {\"-i\", \"-oem\"}\nconnections = 2"));

	assert_int_equal(config.relay->kind, RELAY_COMMAND);
	assert_string_equal(config.relay->path, "/usr/sbin/sendmail");
	assert_string_equal(config.relay->arguments[0], "-i");
	assert_string_equal(config.relay->arguments[1], "-oem");
	assert_null(config.relay->arguments[2]);
	assert_int_equal(config.relay->tls, RELAY_TLS_NONE);
	config_free(&config);
	is_empty(&config);
	refuses(state, KIND("command:sendmail", ""), 2, "as in \"command:/usr/sbin/sendmail\"");
	refuses(state, KIND("command:/s", "arguments = {\"-i\", \"-t\"}"), 3, "in the header");
}

static void test_maildir(void **state)
{
	struct config config =
	    looked_at(state, "spool = \"/var/spool/maildrain/\"\n"
			     "relay a { url = \"maildir:/var/mail/stage//\" }\n"
			     "relay b { url = \"maildir:/var/spool/maildrain2\" }\n");

	assert_int_equal(config.relay[0].kind, RELAY_MAILDIR);
	assert_string_equal(config.relay[0].url, "maildir:/var/mail/stage//");
	assert_string_equal(config.relay[0].path, "/var/mail/stage");
	config_free(&config);
	refuses(state, "spool = \"/s/\"\nrelay a {\nurl = \"maildir:/s\"\n}", 3, "into the spool");
	refuses(state, "spool = \"/s\"\nrelay a {\nurl = \"maildir:/s/x\"\n}", 3, "into the spool");
}

static void test_http(void **state)
{
	struct config config = looked_at(state,
	    "relay a { url = \"https://mx.example.com/in\" user = u password_file = \"/p\" }\n"
	    "relay b { url = \"https://mx.example.com/in\" " TOKEN "}\n"
	    "relay c { url = \"http://localhost:8025/in\" }\n");

	for (int i = 0; i < 3; i++)
		assert_int_equal(config.relay[i].kind, RELAY_HTTP);
	assert_string_equal(config.relay[0].endpoint, "https://mx.example.com/in");
	assert_int_equal(config.relay[0].tls, RELAY_TLS_REQUIRED);
	assert_string_equal(config.relay[0].user, "u");
	assert_string_equal(config.relay[1].token_command[1], "-q");
	assert_int_equal(config.relay[1].auth, RELAY_AUTH_PASSWORD);
	assert_int_equal(config.relay[2].tls, RELAY_TLS_NONE);
	config_free(&config);
	refuses(state, KIND("https://x", TOKEN "user = u"), 4, "user beside token_command");
	refuses(state, KIND("https://x", "user = u"), 3, "user without password_file");
	refuses(state, KIND("https://x", "password_file = \"/p\"\n" TOKEN), 4,
	    "token_command beside password_file");
	refuses(state, KIND("http://mx.example.com", ""), 2, "in place of http");
}

static void test_ses(void **state)
{
	struct config config = looked_at(state,
	    KIND(SES, SES_KEY
		"session_token_file = \"/t\"") "relay b { url = \"ses+http://[::1]:1\" " SES_KEY
					       "region = us-east-1 }");

	assert_int_equal(config.relay[0].kind, RELAY_SES);
	assert_string_equal(config.relay[0].endpoint, "https://email.eu-west-1.amazonaws.com");
	assert_string_equal(config.relay[0].region, "eu-west-1");
	assert_string_equal(config.relay[0].user, "AKIA");
	assert_null(config.relay[0].session_token);
	assert_string_equal(config.relay[1].region, "us-east-1");
	config_free(&config);
	is_empty(&config);
	refuses(state, KIND("ses+http://[::1]:1", SES_KEY), 2, "add one such as region");
	refuses(state, KIND(SES, SES_KEY "region = \"EU WEST\""), 4, "eu-west-1");
	refuses(state, KIND(SES, ""), 1, "relay \"other\" has no user; add the id");
	refuses(state, KIND(SES, "user = AKIA"), 3, "user without password_file");
	refuses(state, KIND(SES, SES_KEY TOKEN), 4, "token_command means nothing");
}

static void test_session_token(void **state)
{
	static const char text[] =
	    KIND(SES, "user = AKIA\npassword_file = \"${TEST_FOLDER}/password\"\n"
		      "session_token_file = \"${TEST_FOLDER}/other\"");
	struct place *place = *state;
	char token[4098];
	struct config config;

	write_file(place->password, "key\n", 4);
	memset(token, 't', sizeof token);
	write_file(place->other, token, 4096);
	load(place, text, CONFIG_SEND, &config);
	assert_string_equal(config.relay->password, "key");
	assert_int_equal(strlen(config.relay->session_token), 4096);
	config_free(&config);
	write_file(place->other, token, 4097);
	refuses_to_send(state, text, 5, "longer than 4096 bytes");
	write_file(place->other, "\n", 1);
	refuses_to_send(state, text, 5, "holds no session token");
	write_file(place->other, "t", 1);
	assert_int_equal(chmod(place->other, 0644), 0);
	refuses_to_send(state, text, 5, "open to everybody");
}

static void test_mailgun(void **state)
{
	struct config config =
	    looked_at(state, KIND(MAILGUN, PASSWORD) "relay b { url = \"" MAILGUN
						     "\" user = me password_file = \"/p\" }");

	assert_int_equal(config.relay[0].kind, RELAY_MAILGUN);
	assert_string_equal(config.relay[0].endpoint, "https://api.mailgun.net/v3/mg.example.com");
	assert_string_equal(config.relay[0].user, "api");
	assert_string_equal(config.relay[0].password_command[0], "/usr/bin/pass");
	assert_string_equal(config.relay[0].password_command[2], "smtp");
	assert_null(config.relay[0].password_command[3]);
	assert_string_equal(config.relay[1].user, "me");
	config_free(&config);
	refuses(state, KIND(MAILGUN, ""), 1, "has no password_file; add the file");
	refuses(state, KIND("mailgun+https://api.mailgun.net", PASSWORD), 2, "must end with /v3/");
}

static void test_bearer(void **state)
{
	struct config config =
	    looked_at(state, KIND(GMAIL, TOKEN) "relay b { url = \"" GRAPH "\" " TOKEN
						" user = \"site@example.com\" }");

	assert_int_equal(config.relay[0].kind, RELAY_GMAIL);
	assert_null(config.relay[0].user);
	assert_string_equal(config.relay[0].token_command[0], "/usr/bin/token");
	assert_int_equal(config.relay[1].kind, RELAY_GRAPH);
	assert_string_equal(config.relay[1].user, "site@example.com");
	config_free(&config);
	refuses(state, KIND(GMAIL, ""), 1, "has no token_command");
	refuses(state, KIND(GRAPH, "user = a"), 1, "has no token_command");
	refuses(state, KIND(GRAPH, TOKEN PASSWORD), 4, "password_command means nothing");
	refuses(state, KIND(GMAIL, TOKEN "recipients_per_message = 5"), 4, "means nothing");
}

static void test_token_by_smtp(void **state)
{
	struct config config = looked_at(state,
	    RELAY("user = a auth = xoauth2\n" TOKEN) "relay b { url = \"smtps://b\" user = b "
						     "auth = oauthbearer " TOKEN "}");

	assert_int_equal(config.relay[0].auth, RELAY_AUTH_XOAUTH2);
	assert_string_equal(config.relay[0].token_command[1], "-q");
	assert_int_equal(config.relay[1].auth, RELAY_AUTH_OAUTHBEARER);
	config_free(&config);
	refuses(state, RELAY("user = a\n" TOKEN), 4, "add auth = \"xoauth2\"");
	refuses(state, RELAY("user = a password_file = \"/p\"\nauth = xoauth2"), 4, "add token_");
	refuses(state, RELAY("auth = xoauth2\n" TOKEN), 4, "token_command without user");
	refuses(state, RELAY("auth = plain"), 3, "\"xoauth2\" or \"oauthbearer\"");
	refuses(state, RELAY("user = a auth = xoauth2\n" TOKEN PASSWORD), 4,
	    "token_command beside password_command");
	refuses(state, RELAY("auth = xoauth2\nuser = a tls = none\n" TOKEN), 4,
	    "the token could go to mx.example.com unencrypted");
}

static void test_password_command(void **state)
{
	struct config config = looked_at(state, RELAY("user = a\n" PASSWORD));
	char text[512] = "relay a {\nurl = \"smtp://a\" user = a\npassword_command = {\"/x\"";

	assert_string_equal(config.relay->password_command[1], "show");
	config_free(&config);
	refuses(state, RELAY(PASSWORD), 3, "password_command without user");
	refuses(state, RELAY("user = a password_file = \"/p\"\n" PASSWORD), 4,
	    "password_command beside password_file");
	refuses(state, RELAY("user = a tls = opportunistic\n" PASSWORD), 3, "unencrypted");
	refuses_to_send(state, RELAY("user = a\npassword_command = {pass}"), 4, "absolute path");
	for (int i = 1; i < CONFIG_WORDS_MAX; i++)
		(void)strcat(text, ",b");
	(void)strcat(text, "} }");
	config = looked_at(state, text);
	assert_string_equal(config.relay->password_command[31], "b");
	config_free(&config);
	(void)strcpy(strchr(text, '}'), ",b} }");
	refuses(state, text, 3, "33 words");
}

/* A variable that leads to a secret may be unset for who only looks. */
static void test_unset_on_the_way_to_secrets(void **state)
{
	static const char *const texts[] = {
	    RELAY("user = a\npassword_command = {\"${TEST_UNSET}\"}"),
	    RELAY("user = a auth = xoauth2\ntoken_command = {\"/x\", \"${TEST_UNSET}\"}"),
	    KIND(SES, SES_KEY "session_token_file = \"${TEST_UNSET}/t\"")};

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct config config = looked_at(state, texts[i]);

		config_free(&config);
		refuses_as(*state, texts[i], CONFIG_SEND, 4, "${TEST_UNSET} is not set", EX_CONFIG);
	}
}

static void test_of_no_meaning(void **state)
{
	refuses(state, KIND("maildir:/m", "\nconnections = 4"), 4,
	    "connections means nothing for a relay with maildir: in its url; remove it: it is for "
	    "smtp://, lmtp, command:, https://, ses+https://");
	refuses(state, KIND("command:/c", "chunking = auto"), 3, "it is for smtp://, lmtp");
	refuses(state, RELAY("arguments = {\"-i\"}"), 3, "it is for command:");
	refuses(state, RELAY("region = eu-west-1"), 3, "it is for ses+https://");
	refuses(state, KIND("https://x", "tls = required"), 3, "tls means nothing");
	refuses(state, KIND("https://x", "auth = password"), 3, "auth means nothing");
	refuses(state, KIND("maildir:/m", "timeout_dot = 1m"), 3, "timeout_dot means nothing");
}

/* Of a configuration with nothing but examples no run is started. */
static void test_example_of_each_kind(void **state)
{
	static const struct {
		const char *text;
		bool example;
	} cases[] = {
	    {KIND("smtps://smtp.example.com", ""), true},
	    {KIND("https://EXAMPLE.NET/x", ""), true},
	    {KIND("https://[::1]/example.net", ""), false},
	    {KIND("lmtp://lmtp.example.org:24", "tls = none"), true},
	    {KIND("lmtp+unix:/example.com", ""), false},
	    {KIND("maildir:/example.com", ""), false},
	    {KIND("command:/example.com", ""), false},
	    {KIND(SES, SES_KEY), false},
	    {KIND("https://example.com", "") RELAY(""), true},
	    {KIND("maildir:/m", "") RELAY(""), false},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct config config = looked_at(state, cases[i].text);

		if (config_is_example(&config) != cases[i].example)
			fail_msg("%s", cases[i].text);
		config_free(&config);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_defaults),
	    TEST(test_limits),
	    TEST(test_limits_for_lookers),
	    TEST(test_rate_units),
	    TEST(test_lmtp),
	    TEST(test_command),
	    TEST(test_maildir),
	    TEST(test_http),
	    TEST(test_ses),
	    TEST(test_session_token),
	    TEST(test_mailgun),
	    TEST(test_bearer),
	    TEST(test_token_by_smtp),
	    TEST(test_password_command),
	    TEST(test_unset_on_the_way_to_secrets),
	    TEST(test_of_no_meaning),
	    TEST(test_example_of_each_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
