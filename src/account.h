/*
 * account: what a run leaves behind for those who watch: its part of the totals, how it found the
 * relays, and metrics_file.
 *
 * Records are written once, at the end of the run, and for a relay when the run is through with it.
 * Where there is a metrics_file, a long run writes all of them about each minute as well: that it
 * goes on, and how far it is, shall show. A run without results that had to do with no relay writes
 * nothing but that file.
 */
#ifndef MAILDRAIN_ACCOUNT_H
#define MAILDRAIN_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "history.h"
#include "message.h"
#include "record.h"
#include "spool.h"

/* What has been learnt of a relay. */
struct account_relay {
	bool answered; /* it has settled a message */
	bool accepted; /* it has taken one */
	bool ended;    /* and all is noted */
};

struct account {
	const struct config *config;
	struct spool *spool;
	const struct record *record;
	int64_t started_ms;	     /* monotonic */
	int64_t due_ms;		     /* when a run that goes on writes again, monotonic */
	struct history_totals noted; /* of the record's results, those that are in state/ */
	struct account_relay relay[CONFIG_RELAYS_MAX]; /* as they are counted in the config */
};

/* CONFIG, SPOOL and RECORD outlive ACCOUNT. */
void account_open(struct account *account, const struct config *config, struct spool *spool,
    const struct record *record);

/* MESSAGE has come back from RELAY. */
void account_result(struct account *account, size_t relay, const struct message *message);

/* The run is through with RELAY, which is DOWN or not. 0, or -1 with ERR. */
int account_end_relay(struct account *account, size_t relay, bool down, struct error *err);

/* To be called now and then while mail is sent. 0, or -1 with ERR. */
int account_go_on(struct account *account, struct error *err);

/* The end of the run: its results. 0, or -1 with ERR. */
int account_close(struct account *account, struct error *err);

/* Milliseconds since the run began. */
int64_t account_took(const struct account *account);

/* Writes metrics_file, if the config has one, for a run that ends with STATUS. 0, or -1 with ERR.
 */
int account_publish(struct account *account, int status, struct error *err);

#endif
