/*
 * message: one message in flight, from its file to its wire form.
 *
 * The file is opened without following links, and all that is said about it afterwards is said
 * about that file: should it be needed again once it has been read to its end, it is opened anew
 * only if it is the same. Its block and header are read into memory (they are bounded), the rest is
 * streamed. As soon as all is in wire form the buffer is given back, and the descriptor too unless
 * a partial result may need it, as many messages may wait for their replies.
 */
#ifndef MAILDRAIN_MESSAGE_H
#define MAILDRAIN_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "body.h"
#include "entry.h"
#include "envelope.h"
#include "spool.h"

/* What came of a message that was given to a transport. */
enum message_verdict {
	MESSAGE_UNTRIED, /* nothing is decided and nothing is charged: back to waiting */
	MESSAGE_SETTLED	 /* each recipient that was tried has its result */
};

struct message {
	char name[ENTRY_NAME_MAX + 1]; /* its present name in new/ */
	struct entry entry;	       /* parsed from name */
	dev_t device;
	ino_t inode;
	uint64_t file_size;
	int fd; /* -1: none, or closed as all of it is read */
	mode_t mode;
	struct envelope envelope;
	struct message *next; /* in whatever list its owner keeps */

	/* For the transport. */
	struct body_size size; /* of the wire form */
	enum message_verdict verdict;
	int refused_at_mail; /* the 4xx or 5xx code when MAIL FROM was refused; else 0 */
	int64_t retry_after; /* seconds that the relay asks us to wait; 0: it does not say */
	bool slow_down;	     /* it wants less mail at a time */
	bool in_doubt;	     /* the connection was lost between the final dot and its reply */
	bool header_8bit;    /* the header itself needs SMTPUTF8 */

	/* How far reading and encoding are. */
	bool body_ended;
	char *buf;	   /* holds buf_len bytes that are read, from buf_pos on not encoded yet */
	size_t header_len; /* of these, the header */
	size_t buf_room;
	size_t buf_len;
	size_t buf_pos;
	uint64_t file_pos; /* where the file is read next; ends at file_size, grown or not */
	struct body body;

	/* For dispatch, and in the end for record. */
	const char *held_status; /* of those who may not be served for now */
	const char *held_why;
	size_t lane;	     /* the relay that it is for, as it is counted in the config */
	size_t admitted;     /* so many recipients were let pass by that one's pace */
	int64_t admitted_us; /* at this time, epoch microseconds */
	int64_t put_off;     /* the longest retry_after of this attempt */
	bool submitted;	     /* that one's transport has it */
	bool anew; /* a person has put it back: its file does not say yet that who has failed is to
		      be served again */

	/* For claims. */
	bool is_claimed; /* it stands in the list of the claims that this run holds */
	bool withdrawn;	 /* another run has it now: what becomes of it here is not recorded */
	LIST_ENTRY(message) claimed;

	/* For record. */
	struct spool_draft draft; /* set aside for a partial result; its fd is -1 without one */
	bool replaced; /* another file has its name now, so its own can't be opened anew */
};

enum message_loaded {
	MESSAGE_LOADED,
	MESSAGE_GONE,	 /* somebody else has moved it: no error */
	MESSAGE_FOREIGN, /* nothing that is ours to send: FAULT's text says why; leave it alone */
	MESSAGE_INVALID, /* a file of ours that can never be sent: FAULT has status and words */
	MESSAGE_ERROR	 /* memory or the disk: FAULT's text says what */
};

/* MESSAGE zeroed before its first use. */
void message_init(struct message *message);
void message_free(struct message *message);

/*
 * Opens NAME in DIRFD and reads its envelope. The descriptor stays open until message_close. What
 * the object held before is gone. message_load also measures it, for a transport.
 */
enum message_loaded message_open(
    struct message *message, int dirfd, const char *name, struct envelope_fault *fault);
enum message_loaded message_load(
    struct message *message, int dirfd, const char *name, struct envelope_fault *fault);

/*
 * Makes MESSAGE, which was sent to some of its recipients, ready to be sent to others. 0, or -1
 * with FAULT's text.
 */
int message_rewind(struct message *message, int dirfd, struct envelope_fault *fault);

/* Its header as it will be sent, from a load or rewind on until it is read. */
const char *message_header(const struct message *message, size_t *len);

/* Notes that the file has the name NAME now. */
void message_renamed(struct message *message, const char *name);
void message_close(struct message *message);

/*
 * The next bytes of the wire form, up to SIZE (6 or more), without the final dot. 0 at the end; -1
 * when the file can't be read, or what is read no longer makes the size that was measured and
 * announced. Neither more than that size is ever given out, nor its last octet before the end has
 * been seen: where octets are counted, what is too much would be a command.
 */
ssize_t message_read(struct message *message, char *out, size_t size);

/*
 * Puts TEXT[0..LEN), whole lines in ASCII, in front of the header of what goes out, which has been
 * loaded and not been read yet; the file stays as it is. 0, or -1 without memory.
 */
int message_prefix(struct message *message, const char *text, size_t len);

/*
 * Writes to FD all of what goes out, but with LF for line ends and no dot doubled, as programs and
 * Maildirs of this host have it. 0, or -1 with errno: ESTALE where message_read gives -1.
 */
int message_pour(struct message *message, int fd);

/* Gives each recipient that still waits for a result this one. */
void message_settle(
    struct message *message, enum recipient_state state, const char *status, const char *text);

/* Opens the file in DIRFD again if it is closed. 0, or -1 with errno, ESTALE when it is another. */
int message_reopen(struct message *message, int dirfd);

/*
 * Writes to FD the message, which is open, as the spool keeps it, with a block that records the
 * state of each recipient. 0, or -1 with errno.
 */
int message_write(const struct message *message, int fd);

#endif
