/*
 * http_named: whom the header of a message names, for APIs that send to those and know no envelope.
 */
#ifndef MAILDRAIN_HTTP_NAMED_H
#define MAILDRAIN_HTTP_NAMED_H

#include "http_request.h"
#include "message.h"

/*
 * Makes the header of MESSAGE, loaded and not read from yet, name those who are to be served now:
 * who stands in neither To nor Cc gets into a Bcc field in front. Where To or Cc names somebody
 * else, or can't be read, the request is refused: API, as in "the Gmail API", would send to them.
 */
void http_named(struct http_request *request, const struct message *message, const char *api);

#endif
