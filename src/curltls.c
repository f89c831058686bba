#include "curltls.h"

#include <string.h>

CURLcode curltls_set(CURL *easy, const struct relay_config *relay)
{
	const bool only_1_3 = relay->tls_min == RELAY_TLS_1_3;
	CURLcode code = curl_easy_setopt(easy, CURLOPT_SSLVERSION,
	    only_1_3 ? (long)CURL_SSLVERSION_TLSv1_3 : (long)CURL_SSLVERSION_TLSv1_2);

	/* The authorities of ca_file and no others. */
	if (code == CURLE_OK && relay->ca_file != NULL)
		code = curl_easy_setopt(easy, CURLOPT_CAINFO, relay->ca_file);
	if (code == CURLE_OK && relay->ca_file != NULL)
		code = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (code == CURLE_OK && relay->cert_file != NULL)
		code = curl_easy_setopt(easy, CURLOPT_SSLCERT, relay->cert_file);
	if (code == CURLE_OK && relay->key_file != NULL)
		code = curl_easy_setopt(easy, CURLOPT_SSLKEY, relay->key_file);
	return code;
}

/* Libcurl tells only in its debug texts which TLS version and cipher came out. */
static int on_debug(CURL *easy, curl_infotype type, char *text, size_t len, void *context)
{
	static const char start[] = "SSL connection using ";
	const size_t skip = sizeof start - 1;
	char *said = context;

	(void)easy;
	if (type == CURLINFO_TEXT && len > skip && memcmp(text, start, skip) == 0)
		(void)snprintf(said, CURLTLS_TEXT_MAX, "%.*s", (int)(len - skip - 1), text + skip);
	return 0;
}

CURLcode curltls_watch(CURL *easy, char text[CURLTLS_TEXT_MAX])
{
	CURLcode code = curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_debug);

	text[0] = '\0';
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_DEBUGDATA, text);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_CERTINFO, 1L);
	return code;
}

void curltls_tell(CURL *easy, const char *text, FILE *out)
{
	struct curl_certinfo *chain = NULL;

	(void)fprintf(
	    out, "  TLS: %s\n", text[0] != '\0' ? text : "none, the connection is not encrypted");
	if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &chain) != CURLE_OK || chain == NULL ||
	    chain->num_of_certs == 0)
		return;
	for (const struct curl_slist *line = chain->certinfo[0]; line != NULL; line = line->next)
		if (strncmp(line->data, "Subject:", 8) == 0 ||
		    strncmp(line->data, "Expire date:", 12) == 0)
			(void)fprintf(out, "  certificate %s\n", line->data);
}
