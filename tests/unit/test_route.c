#include <strings.h>

#include "conffile.h"
#include "route.h"

#define RELAYS                                                                                     \
	"relay main { url = \"smtp://main\" }\nrelay bulk { url = \"smtp://b\" }\n"                \
	"relay both { url = \"smtp://c\" }\n"

/* Header fields: names and values by turns, the last name is NULL. */
static const char *find_header(void *context, const char *name, size_t *len)
{
	const char *const *field = context;

	for (; *field; field += 2)
		if (strcasecmp(field[0], name) == 0) {
			*len = strlen(field[1]);
			return field[1];
		}
	return NULL;
}

static const char *const no_fields[] = {NULL};

static struct route_facts facts_of(const char *sender, const char *recipient)
{
	return (struct route_facts){.sender = sender,
	    .from = sender,
	    .recipient = recipient,
	    .size = 1000,
	    .header = find_header,
	    .context = (void *)(uintptr_t)no_fields};
}

/* The reason of the choice of ROUTE, "" for none, is REASON. */
static void chooses(
    const struct config *config, struct route_facts facts, const char *route, const char *reason)
{
	struct route_choice choice;
	char buf[ROUTE_REASON_MAX];

	assert_true(route_choose(config, &facts, &choice));
	assert_string_equal(choice.route ? choice.route->name : "", route);
	assert_string_equal(route_reason(&choice, buf), reason);
	assert_non_null(choice.ranks);
}

/* Whether a route with OPTIONS takes the message. */
static bool takes(void **state, const char *options, struct route_facts facts)
{
	char text[1024];
	struct config config;
	struct route_match match;
	enum route_answer answer;

	(void)snprintf(text, sizeof text, RELAYS "route r { relays = {main} %s }", options);
	config = looked_at(state, text);
	answer = route_ask(config.route, &facts, &match);
	assert_int_not_equal(answer, ROUTE_UNKNOWN);
	config_free(&config);
	return answer == ROUTE_YES;
}

static void test_sender(void **state)
{
	static const char *const option =
	    "sender = {\"news@example.com\", \"*@lists.example.com\"}";

	assert_true(takes(state, option, facts_of("news@example.com", "a@x")));
	assert_true(takes(state, option, facts_of("NEWS@Example.Com", "a@x")));
	assert_true(takes(state, option, facts_of("a@lists.example.com", "a@x")));
	assert_false(takes(state, option, facts_of("snews@example.com", "a@x")));
	assert_false(takes(state, option, facts_of("news@example.com.evil.net", "a@x")));
	assert_false(takes(state, option, facts_of("", "a@x")));
	assert_true(takes(state, "sender = {\"<>\"}", facts_of("", "a@x")));
	assert_false(takes(state, "sender = {\"<>\"}", facts_of("a@x", "a@x")));
	assert_true(takes(state, "sender = {\"*\"}", facts_of("", "a@x")));
	assert_false(takes(state, "sender = {\"*@*\"}", facts_of("", "a@x")));
	assert_true(takes(state, "sender = {\"example.com\"}", facts_of("a@example.com", "a@x")));
}

static void test_from(void **state)
{
	struct route_facts facts = facts_of("bounces@example.com", "a@x");

	facts.from = "news@shop.example";
	assert_true(takes(state, "from = {\"news@*\"}", facts));
	assert_true(takes(state, "from = {\"shop.example\"}", facts));
	assert_false(takes(state, "from = {\"bounces@*\"}", facts));
	facts.from = NULL;
	assert_false(takes(state, "from = {\"*\"}", facts));
}

static void test_recipient(void **state)
{
	static const char *const option =
	    "recipient = {\"example.net\", \"*.example.net\", \"vip@example.org\"}";

	assert_true(takes(state, option, facts_of("s@x", "a@example.net")));
	assert_true(takes(state, option, facts_of("s@x", "a@EXAMPLE.net")));
	assert_true(takes(state, option, facts_of("s@x", "\"b@example.com\"@example.net")));
	assert_true(takes(state, option, facts_of("s@x", "a@b.c.example.net")));
	assert_true(takes(state, option, facts_of("s@x", "vip@example.org")));
	assert_false(takes(state, option, facts_of("s@x", "a@example.org")));
	assert_false(takes(state, option, facts_of("s@x", "a@notexample.net")));
	assert_false(takes(state, option, facts_of("s@x", "\"a@example.net\"@evil.com")));
	assert_false(takes(state, option, facts_of("s@x", "example.net@evil.com")));
	assert_true(takes(state, "recipient = {\"?@[a-c].net\"}", facts_of("s@x", "a@b.net")));
}

static bool header_takes(void **state, const char *option, const char *name, const char *value)
{
	const char *const fields[] = {"Subject", "x", name, value, NULL};
	struct route_facts facts = facts_of("s@x", "a@x");

	facts.context = (void *)(uintptr_t)fields;
	return takes(state, option, facts);
}

static void test_header(void **state)
{
	static const char *const option = "header = {\"X-Campaign: *\", \"List-Id: *news*\"}";
	char longest[1202];

	assert_true(header_takes(state, option, "x-campaign", ""));
	assert_true(header_takes(state, option, "List-Id", " <big.News.example>"));
	assert_false(header_takes(state, option, "List-Id", "tickets"));
	assert_false(header_takes(state, option, "X-Other", "news"));
	assert_true(header_takes(state, "header = {\"X-A: a b\"}", "X-A", " \ta\r\n\tb \r\n"));
	assert_true(header_takes(state, "header = {\"X-A: a b\"}", "X-A", "a\n b"));
	assert_false(header_takes(state, "header = {\"X-A: a b\"}", "X-A", "a b c"));
	/* No more than 1000 bytes are looked at. */
	memset(longest, 'a', sizeof longest);
	longest[999] = 'z';
	longest[1201] = '\0';
	assert_true(header_takes(state, "header = {\"X-A: *z\"}", "X-A", longest));
	longest[999] = 'a';
	longest[1000] = 'z';
	assert_false(header_takes(state, "header = {\"X-A: *z*\"}", "X-A", longest));
}

static const char *find_nul(void *context, const char *name, size_t *len)
{
	static const char value[] = "a\0b";

	(void)context;
	(void)name;
	*len = sizeof value - 1;
	return value;
}

/* What stands behind a NUL is not passed over. */
static void test_header_with_nul(void **state)
{
	struct route_facts facts = facts_of("s@x", "a@x");

	facts.header = find_nul;
	assert_true(takes(state, "header = {\"X: a?b\"}", facts));
	assert_false(takes(state, "header = {\"X: a\"}", facts));
}

static void test_size(void **state)
{
	static const char *const option = "larger_than = 1000 smaller_than = 2000";
	struct route_facts facts = facts_of("s@x", "a@x");
	static const struct {
		uint64_t size;
		bool taken;
	} cases[] = {{0, false}, {1000, false}, {1001, true}, {1999, true}, {2000, false}};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		facts.size = cases[i].size;
		assert_int_equal(takes(state, option, facts), cases[i].taken);
	}
	facts.size = 0;
	assert_true(takes(state, "smaller_than = 2", facts));
	facts.size = ROUTE_SIZE_UNKNOWN - 1;
	assert_true(takes(state, "larger_than = 2", facts));
}

static void test_all_must_hold(void **state)
{
	static const char *const option =
	    "sender = {\"s@x\"} from = {\"s@x\"} recipient = {y} larger_than = 999\n"
	    "header = {\"Subject: *\"}";
	const char *const fields[] = {"Subject", "x", NULL};
	struct route_facts facts = facts_of("s@x", "a@y");

	facts.context = (void *)(uintptr_t)fields;
	assert_true(takes(state, option, facts));
	facts.sender = "t@x";
	assert_false(takes(state, option, facts));
	facts.sender = "s@x";
	facts.from = "t@x";
	assert_false(takes(state, option, facts));
	facts.from = "s@x";
	facts.recipient = "a@z";
	assert_false(takes(state, option, facts));
	facts.recipient = "a@y";
	facts.size = 999;
	assert_false(takes(state, option, facts));
	facts.size = 1000;
	facts.context = (void *)(uintptr_t)no_fields;
	assert_false(takes(state, option, facts));
}

static void test_first_of_the_file(void **state)
{
	struct config config = looked_at(state,
	    RELAYS "route one { recipient = {x} relays = {main} }\n"
		   "route two { sender = {\"s@*\"} relays = {\"bulk both\", main} }\n"
		   "route three { relays = {bulk} }\n");

	chooses(&config, facts_of("s@x", "a@x"), "one", "recipient matches \"x\"");
	chooses(&config, facts_of("s@x", "a@y"), "two", "sender matches \"s@*\"");
	chooses(&config, facts_of("t@x", "a@y"), "three", "it has no conditions");
	config_free(&config);
}

static void test_default(void **state)
{
	struct config config =
	    looked_at(state, RELAYS "route one { recipient = {x} relays = {main} }\n");
	struct route_facts facts = facts_of("s@x", "a@y");
	struct route_choice choice;

	chooses(&config, facts, "", "no route takes it");
	assert_true(route_choose(&config, &facts, &choice));
	assert_ptr_equal(choice.ranks, &config.every);
	assert_int_equal(choice.ranks->count, 3);
	assert_false(choice.wished);
	config_free(&config);
}

/* A name that both have is the route's. */
static void test_wish(void **state)
{
	struct config config = looked_at(state, RELAYS "route one { relays = {bulk} }\n"
						       "route both { relays = {main, bulk} }\n");
	struct route_facts facts = facts_of("s@x", "a@y");
	struct route_choice choice;

	facts.wish = "both";
	chooses(&config, facts, "both", "the message asks for it");
	facts.wish = "main";
	chooses(&config, facts, "", "the message asks for it");
	assert_true(route_choose(&config, &facts, &choice));
	assert_true(choice.wished);
	assert_int_equal(choice.ranks->count, 1);
	assert_int_equal(choice.ranks->rank[0].count, 1);
	assert_int_equal(choice.ranks->rank[0].relay[0], 0);
	facts.wish = "bulk";
	assert_true(route_choose(&config, &facts, &choice));
	assert_int_equal(choice.ranks->rank[0].relay[0], 1);
	facts.wish = "Main";
	assert_false(route_choose(&config, &facts, &choice));
	facts.wish = "";
	assert_false(route_choose(&config, &facts, &choice));
	config_free(&config);
}

static void test_reason_names_all(void **state)
{
	const char *const fields[] = {"X-Campaign", "summer", NULL};
	struct config config = looked_at(state,
	    RELAYS "route one { sender = {y, x} from = {\"*@x\"} recipient = {z}\n"
		   "header = {\"A: *\", \"x-campaign: s*\"} larger_than = 1 smaller_than = 1K\n"
		   "relays = {bulk} }\n");
	struct route_facts facts = facts_of("s@x", "a@z");

	facts.context = (void *)(uintptr_t)fields;
	chooses(&config, facts, "one",
	    "sender matches \"x\", From matches \"*@x\", recipient matches \"z\", x-campaign "
	    "matches \"s*\", "
	    "larger than 1, smaller than 1K");
	config_free(&config);
}

/* A reason that does not fit is cut. */
static void test_long_reason(void **state)
{
	char text[2048] = RELAYS "route one { relays = {bulk} sender = {\"", pattern[901];
	char buf[ROUTE_REASON_MAX];
	struct config config;
	struct route_facts facts = facts_of("s@x", "a@z");
	struct route_choice choice;

	memset(pattern, '*', 900);
	pattern[900] = '\0';
	(void)snprintf(text + strlen(text), 1000, "%s\"} recipient = {z} }", pattern);
	config = looked_at(state, text);
	assert_true(route_choose(&config, &facts, &choice));
	assert_int_equal(strlen(route_reason(&choice, buf)), ROUTE_REASON_MAX - 1);
	config_free(&config);
}

static void asks_unknown(void **state, const char *options, enum route_answer expected)
{
	char text[1024];
	struct config config;
	struct route_facts facts = facts_of("s@x", "a@y");
	struct route_match match;
	struct route_choice choice;

	facts.header = NULL;
	facts.size = ROUTE_SIZE_UNKNOWN;
	(void)snprintf(text, sizeof text, RELAYS "route r { relays = {main} %s }", options);
	config = looked_at(state, text);
	assert_int_equal(route_ask(config.route, &facts, &match), expected);
	assert_true(route_choose(&config, &facts, &choice));
	assert_int_equal(choice.route != NULL, expected == ROUTE_YES);
	config_free(&config);
}

static void test_unknown(void **state)
{
	asks_unknown(state, "", ROUTE_YES);
	asks_unknown(state, "recipient = {y}", ROUTE_YES);
	asks_unknown(state, "header = {\"X: *\"}", ROUTE_UNKNOWN);
	asks_unknown(state, "larger_than = 1", ROUTE_UNKNOWN);
	asks_unknown(state, "smaller_than = 1M header = {\"X: *\"}", ROUTE_UNKNOWN);
	asks_unknown(state, "header = {\"X: *\"} recipient = {z}", ROUTE_NO);
	asks_unknown(state, "larger_than = 1 sender = {z}", ROUTE_NO);
}

/* What must be read of a message before it can be routed. */
static void test_needs(void **state)
{
	static const struct {
		const char *text;
		bool content, header;
	} cases[] = {
	    {"relay a { url = \"smtp://a\" }", false, false},
	    {RELAYS, true, false},
	    {"relay a { url = \"smtp://a\" } route r { relays = {a} }", true, false},
	    {"relay a { url = \"smtp://a\" } route r { relays = {a} sender = {x} }", true, false},
	    {"relay a { url = \"smtp://a\" } route r { relays = {a} from = {x} }", true, true},
	    {RELAYS "route q { relays = {main} } route r { relays = {main} header = {\"A: *\"} }",
		true, true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct config config = looked_at(state, cases[i].text);

		assert_int_equal(route_needs_content(&config), cases[i].content);
		assert_int_equal(route_needs_header(&config), cases[i].header);
		config_free(&config);
	}
}

static void test_hiding(void **state)
{
	static const char *const conditions[] = {"sender = {x}", "from = {x}", "recipient = {x}",
	    "header = {\"X: *\"}", "larger_than = 1", "smaller_than = 9"};
	char text[1024] = RELAYS;
	struct config config;

	for (size_t i = 0; i < 6; i++)
		(void)sprintf(
		    text + strlen(text), "route r%zu { relays = {main} %s }\n", i, conditions[i]);
	(void)strcat(text, "route all { relays = {main} } route hidden { relays = {main} }");
	config = looked_at(state, text);
	for (size_t i = 0; i < 7; i++)
		assert_null(route_hiding(&config, i));
	assert_string_equal(route_hiding(&config, 7)->name, "all");
	config_free(&config);
}

static void test_allows(void **state)
{
	struct config config = looked_at(
	    state, "allow_recipients = {\"example.com\", \"*.example.org\", \"me@example.net\"}");
	struct config open = looked_at(state, "");

	assert_true(route_allows(&config, "a@example.com"));
	assert_true(route_allows(&config, "a@EXAMPLE.COM"));
	assert_true(route_allows(&config, "a@b.example.org"));
	assert_true(route_allows(&config, "Me@example.net"));
	assert_false(route_allows(&config, "a@example.org"));
	assert_false(route_allows(&config, "you@example.net"));
	assert_false(route_allows(&config, "a@example.com.evil.net"));
	assert_false(route_allows(&config, "\"a@example.com\"@evil.net"));
	assert_true(route_allows(&open, "a@anywhere"));
	config_free(&config);
	config_free(&open);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_sender),
	    TEST(test_from),
	    TEST(test_recipient),
	    TEST(test_header),
	    TEST(test_header_with_nul),
	    TEST(test_size),
	    TEST(test_all_must_hold),
	    TEST(test_first_of_the_file),
	    TEST(test_default),
	    TEST(test_wish),
	    TEST(test_reason_names_all),
	    TEST(test_long_reason),
	    TEST(test_unknown),
	    TEST(test_needs),
	    TEST(test_hiding),
	    TEST(test_allows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
