/*
 * dsn: a report about recipients and a header of any kind. Lines of the input: the sender, then an
 * address and the words on it for each recipient, up to an empty one; the header is the rest.
 */
#include <ctype.h>
#include <stdio.h>

#include "digest.h"
#include "dsn.h"
#include "fuzz.h"

#define RECIPIENTS_MAX 8
#define KEY	       "1763790600.M0P1Q2.failure"

struct input {
	struct recipient recipient[RECIPIENTS_MAX];
	char *text[RECIPIENTS_MAX * 2];
	size_t count;
	char *sender;
	struct envelope envelope;
};

static void read_recipients(struct fuzz *fuzz, struct input *input)
{
	static const enum recipient_state states[] = {
	    RECIPIENT_FAILED, RECIPIENT_TODO, RECIPIENT_DONE, RECIPIENT_FAILED};

	for (; input->count < RECIPIENTS_MAX && fuzz->left > 0; input->count++) {
		struct recipient *recipient = &input->recipient[input->count];
		char *address = fuzz_line(fuzz);

		if (*address == '\0') {
			free(address);
			return;
		}
		input->text[input->count * 2] = address;
		input->text[input->count * 2 + 1] = fuzz_line(fuzz);
		recipient->address = address;
		recipient->reply = input->text[input->count * 2 + 1];
		recipient->state = states[fuzz_choose(fuzz, 0, 3)];
	}
}

static void free_input(struct input *input)
{
	for (size_t i = 0; i < input->count * 2; i++)
		free(input->text[i]);
	free(input->sender);
}

/* The lines of MAIL that start with START, up to END. */
static size_t count_lines(const char *mail, const char *end, const char *start)
{
	size_t count = 0;

	for (const char *at = mail; at != NULL && at < end; at = strchr(at, '\n')) {
		at += *at == '\n';
		count += strncmp(at, start, strlen(start)) == 0;
	}
	return count;
}

static void check_octets(const char *mail, size_t len)
{
	size_t column = 0;

	assert(strlen(mail) == len && len > 0 && mail[len - 1] == '\n');
	for (size_t i = 0; i < len; i++) {
		const unsigned char c = (unsigned char)mail[i];

		assert(c == '\n' || c == '\t' || (c >= ' ' && c < 127));
		column = c == '\n' ? 0 : column + 1;
		assert(column < 998);
	}
}

/* Three parts and their end; fields that nobody has smuggled in. */
static void check_structure(const char *mail, const struct dsn *dsn)
{
	const char *end = mail + strlen(mail);
	const char *mark = strstr(mail, "boundary=\"");
	const char *header_end = strstr(mail, "\n\n");
	const char *report, *report_end;
	char delimiter[128];
	char opening[192];
	size_t len;

	assert(mark != NULL && header_end != NULL && mark < header_end);
	len = strcspn(mark + 10, "\"");
	assert(len > 0 && len <= 70);
	(void)snprintf(delimiter, sizeof delimiter, "--%.*s", (int)len, mark + 10);
	assert(count_lines(mail, end, delimiter) == 4);
	(void)snprintf(
	    opening, sizeof opening, "\n%s\nContent-Type: message/delivery-status\n", delimiter);
	report = strstr(mail, opening);
	assert(report != NULL);
	report += strlen(delimiter) + 2;
	opening[1 + strlen(delimiter)] = '\0';
	report_end = strstr(report, opening);
	assert(report_end != NULL);
	assert(
	    count_lines(report, report_end, "Action: ") == dsn_count(dsn->envelope, dsn->delayed));
	assert(count_lines(report, report_end, "Final-Recipient: ") ==
	       dsn_count(dsn->envelope, dsn->delayed));
	assert(
	    count_lines(report, report_end, "Status: ") == dsn_count(dsn->envelope, dsn->delayed));
	assert(count_lines(mail, header_end, "Subject: ") == 1);
	assert(count_lines(mail, header_end, "In-Reply-To: ") <= 1);
	assert(count_lines(mail, header_end, "X-Maildrain-To: ") == 1);
}

static void check_report(const struct dsn *dsn)
{
	char *mail = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&mail, &len);

	assert(out != NULL && dsn_write(out, dsn) == 0 && fclose(out) == 0);
	check_octets(mail, len);
	check_structure(mail, dsn);
	free(mail);
}

static void check_digest(const struct dsn *dsn)
{
	struct digest digest = {0};
	struct entry entry;
	char *list = NULL, *mail = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&list, &len);

	assert(out != NULL && entry_parse("1.M2P3Q4.h,A=1,E=5.1.1", &entry));
	assert(digest_add(&digest, entry.status));
	digest_list(out, &entry, dsn->envelope, NULL);
	assert(fclose(out) == 0);
	out = open_memstream(&mail, &len);
	assert(out != NULL && digest_write(out, &digest, &dsn->notice, list) == 0);
	assert(fclose(out) == 0);
	check_octets(mail, len);
	free(list);
	free(mail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const to[] = {"s@example.com"};
	struct fuzz fuzz = fuzz_start(data, size);
	struct input input = {.count = 0};
	struct dsn dsn = {.notice = {.host = "www.example.com",
			      .from = "MAILER-DAEMON@www.example.com",
			      .to = to,
			      .to_count = 1,
			      .key = KEY,
			      .date = 1763790600},
	    .id = "id",
	    .envelope = &input.envelope,
	    .arrival = -1};

	fuzz_seed(&fuzz);
	dsn.delayed = fuzz_choose(&fuzz, 0, 1) == 1;
	dsn.status = dsn.delayed ? "4.2.1" : "5.4.7";
	dsn.attempts = (unsigned)fuzz_choose(&fuzz, 0, 2);
	input.sender = fuzz_line(&fuzz);
	read_recipients(&fuzz, &input);
	input.envelope.sender = input.sender;
	input.envelope.recipient = input.recipient;
	input.envelope.count = input.count;
	dsn.header = fuzz.at;
	dsn.header_len = fuzz.left;
	dsn.id = input.sender;
	check_report(&dsn);
	check_digest(&dsn);
	free_input(&input);
	return 0;
}
