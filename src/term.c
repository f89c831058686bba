#include "term.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "units.h"

/* A line for a person is not longer, and what makes one is more than this. */
#define COLUMNS_MAX 1000
#define COLUMNS_MIN 20

static bool has_colour(void)
{
	const char *none = getenv("NO_COLOR");
	const char *name = getenv("TERM");

	if (none != NULL && none[0] != '\0')
		return false;
	return name != NULL && name[0] != '\0' && strcmp(name, "dumb") != 0;
}

static size_t find_columns(void)
{
	const char *told = getenv("COLUMNS");
	struct winsize size;
	int64_t number = TERM_COLUMNS;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		number = size.ws_col;
	else if (told != NULL && (!units_number(told, INT64_MAX, &number) || number == 0))
		number = TERM_COLUMNS;
	if (number < COLUMNS_MIN)
		return COLUMNS_MIN;
	return number < COLUMNS_MAX ? (size_t)number : COLUMNS_MAX;
}

void term_open(struct term *term)
{
	*term = (struct term){.tty = isatty(STDOUT_FILENO) == 1};
	if (!term->tty)
		return;
	term->colour = has_colour();
	term->columns = find_columns();
	(void)setlocale(LC_CTYPE, "C.UTF-8");
}

const char *term_on(const struct term *term, enum term_colour colour)
{
	static const char *const codes[] = {"", "\033[31m", "\033[32m", "\033[33m", "\033[36m"};

	return term->colour ? codes[colour] : "";
}

const char *term_off(const struct term *term, enum term_colour colour)
{
	return term->colour && colour != TERM_PLAIN ? "\033[0m" : "";
}
