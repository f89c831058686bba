#include "http_mask.h"

#include <stdio.h>
#include <string.h>

#include "base64.h"
#include "http_answer.h"
#include "secret.h"
#include "utf8.h"

#define LOGIN_MAX 4096 /* bytes; config.h allows less for user and password */

static void mask_basic(const struct credential *credential, char *text)
{
	char login[LOGIN_MAX];
	char encoded[BASE64_LEN(LOGIN_MAX) + 1];
	const struct secret secret = {.token = encoded};
	const int len =
	    snprintf(login, sizeof login, "%s:%s", credential->user, credential->password);

	if (len > 0 && (size_t)len < sizeof login) {
		encoded[base64_encode(login, (size_t)len, encoded)] = '\0';
		secret_mask(text, &secret);
	}
	explicit_bzero(login, sizeof login);
	explicit_bzero(encoded, sizeof encoded);
}

/* As the words of an answer have it, see http_words_add. */
static void mask_shown(const char *password, char *text)
{
	char shown[SECRET_PASSWORD_MAX + UTF8_MAX + 1] = "";
	const struct secret secret = {.token = shown};
	size_t len;

	http_words_add(shown, sizeof shown, password, strlen(password));
	len = strlen(shown);
	while (len > 0 && shown[len - 1] == ' ')
		shown[--len] = '\0';
	secret_mask(text, &secret);
	explicit_bzero(shown, sizeof shown);
}

void http_mask(const struct credential *credential, char *text)
{
	const struct secret login = {
	    .user = credential->user, .password = credential->password, .token = credential->token};
	const struct secret session = {.token = credential->session_token};

	/* This first: what is in there in base64 would be found, and no more than that. */
	if (credential->user != NULL && credential->password != NULL)
		mask_basic(credential, text);
	secret_mask(text, &login);
	secret_mask(text, &session);
	if (credential->password != NULL)
		mask_shown(credential->password, text);
}
