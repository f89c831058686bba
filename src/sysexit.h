/*
 * sysexit: what the exit status of a program like sendmail(8) means for its message. Pure.
 */
#ifndef MAILDRAIN_SYSEXIT_H
#define MAILDRAIN_SYSEXIT_H

#include <stdbool.h>

#include "envelope.h"
#include "reply.h"

struct sysexit {
	bool faulty;  /* the program can't do its work: that is no word on the message */
	bool general; /* a refusal that may well be one of all mail */
	enum recipient_state state; /* of the recipients */
	struct reply reply; /* as a server would say it: "550 5.1.1 exit 67: User unknown" */
};

/*
 * STATUS as in sysexits(3): 0 is sent; 64 to 70 are failures; 77, 78 and the shell's 126 and 127
 * are faults of the program or its configuration; 75 and all the rest are to be tried again. SAID
 * is what the program has said, of which the first line that is not blank is taken over; where
 * there is none the meaning of STATUS stands in its place.
 */
void sysexit_read(int status, const char *said, struct sysexit *sysexit);

#endif
