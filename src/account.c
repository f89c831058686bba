#include "account.h"

#include "clock.h"
#include "publish.h"
#include "survey.h"

#define PERIOD_MS 60000 /* between two looks at a run that goes on */

void account_open(struct account *account, const struct config *config, struct spool *spool,
    const struct record *record)
{
	*account = (struct account){.config = config, .spool = spool, .record = record};
	account->started_ms = clock_monotonic();
	account->due_ms = account->started_ms + PERIOD_MS;
}

static bool is_accepted(const struct message *message)
{
	for (size_t i = 0; i < message->envelope.count; i++)
		if (message->envelope.recipient[i].tried &&
		    message->envelope.recipient[i].state == RECIPIENT_DONE)
			return true;
	return false;
}

void account_result(struct account *account, size_t relay, const struct message *message)
{
	struct account_relay *seen = &account->relay[relay];

	if (message->verdict == MESSAGE_UNTRIED)
		return;
	seen->answered = true;
	seen->accepted = seen->accepted || is_accepted(message);
}

/* A relay that has not been asked anything is neither up nor down. */
static int note_relay(struct account *account, size_t relay, bool down, struct error *err)
{
	const struct account_relay *seen = &account->relay[relay];
	const struct history_seen now = {
	    .up = !down, .accepted = seen->accepted, .now = clock_now()};

	if (seen->ended || (!down && !seen->answered))
		return 0;
	return history_saw(account->spool, account->config->relay[relay].name, &now, err);
}

int account_end_relay(struct account *account, size_t relay, bool down, struct error *err)
{
	const int result = note_relay(account, relay, down, err);

	account->relay[relay].ended = true;
	return result;
}

static int note_relays(struct account *account, struct error *err)
{
	for (size_t i = 0; i < account->config->relay_count; i++)
		if (note_relay(account, i, false, err) == -1)
			return -1;
	return 0;
}

int64_t account_took(const struct account *account)
{
	return clock_monotonic() - account->started_ms;
}

static struct history_run this_run(const struct account *account, int status)
{
	return (struct history_run){
	    .ended = clock_now(), .took = account_took(account), .status = status};
}

int account_close(struct account *account, struct error *err)
{
	const struct record *record = account->record;
	const struct history_totals now = {
	    (int64_t)record->sent, (int64_t)record->deferred, (int64_t)record->failed};
	const struct history_totals more = {now.sent - account->noted.sent,
	    now.deferred - account->noted.deferred, now.failed - account->noted.failed};
	const struct history_run run = this_run(account, 0);

	if (more.sent == 0 && more.deferred == 0 && more.failed == 0)
		return 0;
	account->noted = now;
	return history_add(account->spool, &more, &run, err);
}

int account_publish(struct account *account, int status, struct error *err)
{
	struct history history;
	struct survey survey;

	if (account->config->metrics_file == NULL)
		return 0;
	if (survey_take(account->spool, &survey, err) == -1 ||
	    history_load(account->spool, account->config, &history, err) == -1)
		return -1;
	history.run = this_run(account, status);
	return publish_metrics(account->config->metrics_file, &survey, &history, err);
}

int account_go_on(struct account *account, struct error *err)
{
	const int64_t began_ms = clock_monotonic();
	int result;

	if (account->config->metrics_file == NULL || began_ms < account->due_ms)
		return 0;
	result = account_close(account, err) == 0 && note_relays(account, err) == 0
		     ? account_publish(account, -1, err)
		     : -1;
	account->due_ms = clock_again(began_ms, PERIOD_MS);
	return result;
}
