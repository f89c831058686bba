/*
 * addresses: address_list for tests in another language. Reads lists from stdin, each ended by a
 * NUL, and prints a line of JSON for each: {"fault": "…"} or {"addresses": ["…", …]}. Bytes over
 * 127 are written as U+0080 to U+00FF, so that no list can make the JSON invalid.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "address.h"

/* The addresses so far, held back because a fault may still come. */
struct held {
	FILE *to;
	size_t count;
};

static void print_string(FILE *to, const char *text, size_t len)
{
	(void)fputc('"', to);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
			(void)fprintf(to, "\\u%04x", c);
		else
			(void)fputc(c, to);
	}
	(void)fputc('"', to);
}

static int hold(void *context, const char *addr, size_t len)
{
	struct held *held = context;

	if (held->count++ > 0)
		(void)fputs(", ", held->to);
	print_string(held->to, addr, len);
	return 0;
}

static int print_list(const char *text, size_t len)
{
	char *addresses = NULL;
	size_t size = 0;
	struct held held = {open_memstream(&addresses, &size), 0};
	const char *fault;
	int result;

	if (!held.to)
		return -1;
	result = address_list(text, len, hold, &held, &fault);
	if (fclose(held.to) == 0) {
		printf("{\"%s\": ", result == 0 ? "addresses" : "fault");
		if (result == 0)
			printf("[%s]", addresses);
		else
			print_string(stdout, fault, strlen(fault));
		puts("}");
	}
	free(addresses);
	return 0;
}

int main(void)
{
	char *text = NULL;
	size_t size = 0;
	ssize_t len;
	int result = 0;

	while (result == 0 && (len = getdelim(&text, &size, '\0', stdin)) > 0) {
		if (text[len - 1] == '\0')
			len--;
		result = print_list(text, (size_t)len);
	}
	free(text);
	if (result != 0 || ferror(stdin) || fflush(stdout) != 0 || ferror(stdout)) {
		perror("addresses");
		return 1;
	}
	return 0;
}
