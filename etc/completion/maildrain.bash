# bash completion for maildrain(8). Commands and options are those that the program's --help names.
# shellcheck shell=bash

# What --help of the command $2 of program $1 (of the program itself without $2) has as options: on
# each line one, with the word for its value behind it, if it takes one.
_maildrain_options() {
	"$1" ${2:+"$2"} --help 2>/dev/null | sed -En '
		/^  +-/!d
		s/^ +//
		s/  .*//
		s/^(-., )?(--[a-z-]+), (--[a-z-]+)$/\2\n\3/
		s/^-., //
		p'
}

_maildrain_commands() {
	"$1" --help 2>/dev/null | sed -En 's/^  ([a-z]+)  *[A-Z].*/\1/p'
}

# The ids of messages. Whoever may drop mail chooses them, and both compgen and the line that is
# entered then expand what they are given: one in which the shell finds something to do is left out.
_maildrain_ids() {
	"$@" list 2>/dev/null | LC_ALL=C sed -En '
		s/^[a-z-]+ +[0-9]+ +(now|-|in [0-9dhms ]+) +[0-9.-]+ +([A-Za-z0-9_.][A-Za-z0-9_.@%+=-]*) <.*/\2/p'
}

# What may stand for the word $1 of a usage, starting with $2; the rest is how to call the program.
_maildrain_values() {
	local word=$1 cur=$2
	shift 2
	case $word in
	FILE) compgen -f -- "$cur" ;;
	DIR) compgen -d -- "$cur" ;;
	STATE) compgen -W 'waiting in-flight deferred failed sent' -- "$cur" ;;
	ID*) compgen -W "$(_maildrain_ids "$@")" -- "$cur" ;;
	esac
}

_maildrain() {
	local program=$1 cur=$2 prev=$3 command="" config=() i word options

	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		-c | --config)
			config=(-c "${COMP_WORDS[i + 1]}")
			((i++))
			;;
		-*) ;;
		*) command=${command:-$word} ;;
		esac
	done
	COMPREPLY=()
	options=$(_maildrain_options "$program" "$command")
	case $prev in
	-c) word=FILE ;;
	-*) word=$(sed -n "/^$prev /{s///p; q}" <<<"$options"$'\n'"--config FILE") ;;
	*) word="" ;;
	esac
	if [[ -n $word ]]; then
		:
	elif [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "${options//+([A-Z])/} --config --help" -- "$cur")
		return
	elif [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_maildrain_commands "$program")" -- "$cur")
		return
	else
		word=$("$program" "$command" --help 2>/dev/null |
			sed -En '1s/.* \[?(ID|DIR|FILE|STATE)([^A-Z].*)?$/\1/p')
	fi
	[[ $word != FILE && $word != DIR ]] || compopt -o filenames
	mapfile -t COMPREPLY < <(_maildrain_values "$word" "$cur" "$program" "${config[@]}")
}

complete -F _maildrain maildrain
