#include "header.h"

#include <string.h>
#include <strings.h>

struct header_line header_line_at(const char *head, size_t len, size_t offset)
{
	struct header_line line = {.text = head + offset};
	size_t end = offset;

	while (end < len && head[end] != '\n' && head[end] != '\r')
		end++;
	line.len = end - offset;
	if (end < len && head[end] == '\r')
		end++;
	if (end < len && head[end] == '\n')
		end++;
	line.next = end;
	return line;
}

bool header_is_folded(const char *head, size_t len, size_t offset)
{
	return offset < len && (head[offset] == ' ' || head[offset] == '\t');
}

size_t header_name_len(const struct header_line *line)
{
	size_t n = 0;
	size_t colon;

	while (n < line->len && line->text[n] > 32 && line->text[n] < 127 && line->text[n] != ':')
		n++;
	for (colon = n; colon < line->len; colon++)
		if (strchr(" \t\r\n", line->text[colon]) == NULL || line->text[colon] == '\0')
			break;
	return colon < line->len && line->text[colon] == ':' ? n : 0;
}

bool header_is(const struct header_line *line, const char *name)
{
	size_t n = header_name_len(line);

	return n == strlen(name) && strncasecmp(line->text, name, n) == 0;
}

struct header_line header_field_at(const char *head, size_t len, size_t offset)
{
	struct header_line field = header_line_at(head, len, offset);

	while (field.len > 0 && header_is_folded(head, len, field.next)) {
		struct header_line more = header_line_at(head, len, field.next);

		field.len = (size_t)(more.text + more.len - field.text);
		field.next = more.next;
	}
	return field;
}

struct header_line header_value(const struct header_line *field)
{
	const char *colon = memchr(field->text, ':', field->len);
	struct header_line value = *field;

	value.text = colon + 1;
	value.len = (size_t)(field->text + field->len - value.text);
	return value;
}

bool header_find(const char *head, size_t len, const char *name, struct header_line *value)
{
	size_t offset = 0;

	while (offset < len) {
		const struct header_line field = header_field_at(head, len, offset);

		if (field.len == 0)
			return false;
		if (header_is(&field, name)) {
			*value = header_value(&field);
			return true;
		}
		offset = field.next;
	}
	return false;
}
