/*
 * address: mail addresses and lists of them, RFC 5321 section 4.1.2 and RFC 5322 section 3.4. Pure.
 */
#ifndef MAILDRAIN_ADDRESS_H
#define MAILDRAIN_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_MAX 254 /* bytes, RFC 5321 section 4.5.3.1.3 less the angle brackets */

/*
 * Why ADDR may not stand between "<" and ">" in an SMTP command, as a short phrase for a person, or
 * NULL when it may. Refused: empty, longer than ADDRESS_MAX, control characters, space, "<" or ">",
 * bytes that are no valid UTF-8, no "@" with something on both sides, more than one; and outside
 * quotes, as in "a,b@c", what makes no one address without them. Spaces and brackets are refused
 * within a quoted local part too: no real mailbox has them, and servers disagree on them.
 */
const char *address_fault(const char *addr, size_t len);

/* Whether every byte is ASCII; if not, the address needs SMTPUTF8 (RFC 6531). */
bool address_is_ascii(const char *addr, size_t len);

/*
 * Called for each mailbox of a list, with its addr-spec (comments, folding and white space
 * around tokens removed, a quoted local part in its shortest form). Returns 0 to go on.
 */
typedef int address_each(void *context, const char *addr, size_t len);

/*
 * Parses the value of a From, Sender, To, Cc or Bcc field, folded or not: mailboxes with or
 * without a display name, groups, comments (nested to a bounded depth), quoted strings, encoded
 * words in display names, empty list elements, domain literals, UTF-8 (RFC 6532).
 * Returns 0; or the nonzero value of EACH; or -1 with *FAULT a short phrase for a person when the
 * text is no address list (route addresses, RFC 5322 section 4.4, are refused: "<@a,@b:c@d>").
 * Mailboxes before the fault have been given to EACH: who gets -1 discards them.
 * A name with no "@" is given as it is: address_fault refuses it, for that recipient alone.
 */
int address_list(
    const char *text, size_t len, address_each *each, void *context, const char **fault);

/*
 * Called for each mailbox of a list that is a name without a domain, such as "root" or
 * "root (Cron Daemon)", with the offset in the text behind that name: where an "@DOMAIN" belongs.
 */
typedef void address_gap(void *context, size_t offset);

/*
 * Looks for those in a text as address_list reads it. Of several words no address can be made, and
 * what is no ASCII is nobody's login: both are passed over. 0; or -1 when the text is no address
 * list, GAP having been called for what stands before the fault.
 */
int address_gaps(const char *text, size_t len, address_gap *gap, void *context);

#endif
