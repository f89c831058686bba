/* Routes in a configuration, and who mail may go to. */
#include "conffile.h"

#define RELAYS                                                                                     \
	"relay main { url = \"smtp://main\" }\nrelay bulk1 { url = \"smtp://b1\" }\n"              \
	"relay bulk2 { url = \"smtp://b2\" }\n"
/* Its options stand on line 5. */
#define ROUTE(options) RELAYS "route \"news\" {\n" options "\n}\n"

static void rank_is(const struct route_rank *rank, size_t count, const size_t *relays)
{
	assert_int_equal(rank->count, count);
	assert_memory_equal(rank->relay, relays, count * sizeof *relays);
}

static void test_every_option(void **state)
{
	struct config config = looked_at(state,
	    ROUTE(
		"sender = {\"news@example.com\", \"<>\"} from = {\"*@lists.example.com\"}\n"
		"recipient = {\"*.example.net\"} header = {\"X-Campaign:*\", \"List-Id:  *a b*\"}\n"
		"larger_than = 1K smaller_than = 1M relays = {\"bulk1  bulk2\", main}"));
	const struct route_config *route = config.route;

	assert_int_equal(config.route_count, 1);
	assert_string_equal(route->name, "news");
	assert_string_equal(route->sender[0], "news@example.com");
	assert_string_equal(route->sender[1], "<>");
	assert_null(route->sender[2]);
	assert_string_equal(route->from[0], "*@lists.example.com");
	assert_null(route->from[1]);
	assert_string_equal(route->recipient[0], "*.example.net");
	assert_null(route->recipient[1]);
	assert_int_equal(route->header_count, 2);
	assert_string_equal(route->header[0].name, "X-Campaign");
	assert_string_equal(route->header[0].pattern, "*");
	assert_string_equal(route->header[1].name, "List-Id");
	assert_string_equal(route->header[1].pattern, "*a b*");
	assert_int_equal(route->larger_than, 1024);
	assert_int_equal(route->smaller_than, 1048576);
	assert_int_equal(route->ranks.count, 2);
	rank_is(&route->ranks.rank[0], 2, (const size_t[]){1, 2});
	rank_is(&route->ranks.rank[1], 1, (const size_t[]){0});
	config_free(&config);
	is_empty(&config);
}

static void test_defaults(void **state)
{
	struct config config = looked_at(state, "route r { relays = {b} }\n"
						"relay a { url = \"smtp://a\" }\n"
						"relay b { url = \"smtp://b\" }\n");
	const struct route_config *route = config.route;

	assert_true(!route->sender && !route->from && !route->recipient);
	assert_int_equal(route->header_count, 0);
	assert_int_equal(route->larger_than, 0);
	assert_int_equal(route->smaller_than, 0);
	rank_is(&route->ranks.rank[0], 1, (const size_t[]){1});
	assert_int_equal(config.every.count, 2);
	for (size_t i = 0; i < 2; i++) {
		rank_is(&config.every.rank[i], 1, &i);
		assert_int_equal(config.alone[i].count, 1);
		rank_is(&config.alone[i].rank[0], 1, &i);
	}
	assert_null(config.redirect_to);
	assert_int_equal(config.allow_count, 0);
	config_free(&config);
}

/* Who only queues mail or looks at it needs of a route nothing but its name. */
static void test_spool_only(void **state)
{
	struct config config;

	load(*state, ROUTE("relays = {\"${TEST_UNSET}\"} larger_than = lots"), CONFIG_SPOOL,
	    &config);
	assert_string_equal(config.route[0].name, "news");
	assert_int_equal(config.route[0].ranks.count, 0);
	assert_int_equal(config.every.count, 3);
	config_free(&config);
	is_empty(&config);
}

static void test_relays(void **state)
{
	refuses(state, ROUTE(""), 4, "route \"news\" has no relays; add some");
	refuses(state, ROUTE("relays = {}"), 5, "has no relays");
	refuses(state, ROUTE("relays = {main,\nbulk}"), 5, "names \"bulk\"");
	refuses(state, ROUTE("relays = {\"bulk bulk1\"}"), 5, "did you mean \"bulk1\"?");
	refuses(state, ROUTE("relays = {other}"), 5, "add it, or correct the name");
	refuses(state, ROUTE("relays = {main, \"bulk1 main\"}"), 5, "names \"main\" twice");
	refuses(state, ROUTE("relays = {\"main main\"}"), 5, "names \"main\" twice");
	refuses(state, ROUTE("relays = {main, \" \"}"), 5, "without a name");
	refuses(state, ROUTE("relays = {\"main, bulk1\"}"), 5, "did you mean \"main\"?");
}

static void test_conditions(void **state)
{
	refuses(state, ROUTE("relays = {main}\nsender = {\"@example.com\"}"), 6, "* before it");
	refuses(state, ROUTE("sender = {}"), 5, "sender is an empty list");
	refuses(state, ROUTE("header = {}"), 5, "header is an empty list");
	refuses(state, ROUTE("from = {\"<>\"}"), 5, "must be a pattern");
	refuses(state, ROUTE("recipient = {\"<a@x>\"}"), 5, "must be a pattern");
	refuses(state, ROUTE("header = {\"X-Campaign\"}"), 5, "a colon and a pattern");
	refuses(state, ROUTE("header = {\": *\"}"), 5, "a colon and a pattern");
	refuses(state, ROUTE("header = {\"X Y: *\"}"), 5, "a colon and a pattern");
	refuses(state, ROUTE("header = {\"\xc3\xa4: *\"}"), 5, "a colon and a pattern");
	refuses(state, ROUTE("header = {\"X-Campaign: \"}"), 5, "write * for any value");
	refuses(state, ROUTE("header = {\"x-maildrain-relay: a\"}"), 5, "never in the header");
	refuses(state, ROUTE("larger_than = 0"), 5, "must be a size");
	refuses(state, ROUTE("smaller_than = 1"), 5, "no message is smaller");
	refuses(state, ROUTE("larger_than = 1M\nsmaller_than = 1048577"), 6, "no message is");
	refuses(state, ROUTE("larger_than = 1M smaller_than = 1048578 "), 4, "has no relays");
}

static void test_sections(void **state)
{
	refuses(state, ROUTE("relays = {main}") "route news { }", 7,
	    "a second route of the name on line 4");
	refuses(state, "route \"a b\" { }", 1, "the name of a route must");
	refuses(state, ROUTE("recipent = {x}"), 5, "did you mean 'recipient'?");
	refuses(state, ROUTE("url = \"smtp://x\""), 5,
	    "url is an option of a relay, and stands in the route opened on line 4; move it into "
	    "relay \"NAME\" { }");
	refuses(state, "relay a {\nsender = {x}\n}", 2, "move it into route \"NAME\" { }");
	refuses(state, "relays = {main}", 1, "relays stands outside of a route");
	refuses(state, ROUTE("spool = \"/x\""), 5, "move it out of the one opened on line 4");
	refuses(state, "route = {a}", 1, "route is a section");
	refuses(state, "route { relays = {a} }", 1, "missing title for section 'route'");
}

static void test_limit(void **state)
{
	char text[65 * 40 + 64] = "relay a { url = \"smtp://a\" }\n";
	struct config config;

	for (int i = 0; i < CONFIG_ROUTES_MAX; i++)
		(void)sprintf(text + strlen(text), "route r%d { relays = {a} }\n", i);
	config = looked_at(state, text);
	assert_int_equal(config.route_count, CONFIG_ROUTES_MAX);
	assert_string_equal(config.route[63].name, "r63");
	config_free(&config);
	strcat(text, "route r64 { relays = {a} }\n");
	refuses(state, text, 66, "more than 64 routes");
}

static void test_pattern_limit(void **state)
{
	char text[257 * 2 + 256] = RELAYS "route r { relays = {main} recipient = {a";
	struct config config;

	for (int i = 1; i < CONFIG_PATTERNS_MAX; i++)
		(void)strcat(text, ",a");
	(void)strcat(text, "} }");
	config = looked_at(state, text);
	assert_string_equal(config.route->recipient[255], "a");
	config_free(&config);
	(void)strcpy(strstr(text, "} }"), ",a} }");
	refuses(state, text, 4, "257 patterns");
}

static void test_staging(void **state)
{
	struct config config = looked_at(state,
	    "redirect_to = \"dev@example.com\" allow_recipients = {\"example.org\", \"*.x\"}");

	assert_string_equal(config.redirect_to, "dev@example.com");
	assert_int_equal(config.allow_count, 2);
	assert_string_equal(config.allow[1], "*.x");
	config_free(&config);
	is_empty(&config);
	refuses(state, "redirect_to = dev", 1, "must be an address");
	refuses(state, "allow_recipients = {}", 1, "would hold all mail");
	refuses(state, "\nallow_recipients = {\"@x\"}", 2, "* before it");
}

/* Some APIs send to whom the header names, whatever the envelope says. */
static void test_staging_by_header(void **state)
{
	static const char *const urls[] = {
	    "gmail+https://gmail.googleapis.com", "graph+https://graph.microsoft.com"};
	static const char *const options[] = {
	    "redirect_to = \"dev@example.com\"", "allow_recipients = {\"x\"}"};
	char text[256];

	for (int i = 0; i < 4; i++) {
		(void)snprintf(text, sizeof text,
		    "relay a {\nurl = \"%s\" token_command = {\"/t\"} }\n%s", urls[i / 2],
		    options[i % 2]);
		refuses(state, text, 3, "can't be kept with relay \"a\"");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_every_option),
	    TEST(test_defaults),
	    TEST(test_spool_only),
	    TEST(test_relays),
	    TEST(test_conditions),
	    TEST(test_sections),
	    TEST(test_limit),
	    TEST(test_pattern_limit),
	    TEST(test_staging),
	    TEST(test_staging_by_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
