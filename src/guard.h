/*
 * guard: keeps what is in memory from being read by others.
 */
#ifndef MAILDRAIN_GUARD_H
#define MAILDRAIN_GUARD_H

/*
 * To be called before a secret is read, as often as one likes: no core dump of this process or its
 * children is written, and no debugger without privilege gets at it, from here on.
 */
void guard_memory(void);

#endif
