/*
 * secret: keeps a password out of what is shown, even where a server repeats it. Pure.
 */
#ifndef MAILDRAIN_SECRET_H
#define MAILDRAIN_SECRET_H

/*
 * Puts stars over PASSWORD wherever it stands in TEXT: as it is, and in base64, as AUTH LOGIN and
 * AUTH PLAIN send it for USER. A reply code at the start of TEXT stays.
 */
void secret_mask(char *text, const char *user, const char *password);

#endif
