#include "intake.h"

#include <string.h>

#include "header.h"

/* The octets of a line that were held back. */
static size_t give_held(const struct intake_dot *dot, char *out)
{
	static const char held[] = ".\r";
	const size_t len = dot->at == INTAKE_DOT ? 1 : dot->at == INTAKE_DOT_CR ? 2 : 0;

	memcpy(out, held, len);
	return len;
}

size_t intake_dot_take(struct intake_dot *dot, const char *in, size_t len, char *out)
{
	size_t made = 0;

	for (size_t i = 0; i < len && !dot->ended; i++) {
		const char c = in[i];

		if (dot->at == INTAKE_LINE_START && c == '.') {
			dot->at = INTAKE_DOT;
		} else if (dot->at == INTAKE_DOT && c == '\r') {
			dot->at = INTAKE_DOT_CR;
		} else if ((dot->at == INTAKE_DOT || dot->at == INTAKE_DOT_CR) && c == '\n') {
			dot->ended = true;
		} else {
			made += give_held(dot, out + made);
			out[made++] = c;
			dot->at = c == '\n' ? INTAKE_LINE_START : INTAKE_MID_LINE;
		}
	}
	return made;
}

/* Whether LINE is one of those that part the messages of a mailbox file, quoted or not. */
static bool is_mailbox_line(const struct header_line *line)
{
	static const char from[] = "From ";
	size_t quotes = 0;

	while (quotes < line->len && line->text[quotes] == '>')
		quotes++;
	return line->len - quotes >= sizeof from - 1 &&
	       memcmp(line->text + quotes, from, sizeof from - 1) == 0;
}

/* Whether LINE, at HEAD's end, belongs to the header. */
static bool is_of_header(const struct intake_head *head, const struct header_line *line)
{
	if (header_is_folded(line->text, line->len, 0))
		return head->end > head->start;
	return header_name_len(line) > 0;
}

bool intake_head_find(struct intake_head *head, const char *text, size_t len, bool whole)
{
	while (head->end < len) {
		const struct header_line line = header_line_at(text, len, head->end);
		const bool ended = line.next > head->end + line.len;

		/* A CR at the very end may be half of a CRLF. */
		if (!whole && (!ended || (line.next == len && text[len - 1] == '\r')))
			return false;
		if (head->end == head->start && is_mailbox_line(&line)) {
			head->start = line.next;
		} else if (!is_of_header(head, &line)) {
			head->body = line.len == 0 ? line.next : head->end;
			return true;
		}
		head->end = line.next;
	}
	head->body = head->end;
	return whole;
}
