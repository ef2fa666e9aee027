"""A run by several processes: who they are and how they are reached; what they may use is lease's.

driven     a run by workers, from its start to its report
driver     what is known of the workers, by what they say       messages  what they and the driver say
senders    how many there are                                   end       how the run ended
worker     one of them: its lease, its shards, its renewals     granted   the shards that it was given
on_machine a run by processes of this machine                   processes  workers as such processes
child      what runs in each of them
frames     messages over a socket

on_ray     a run on a Ray cluster                               cluster   one that runs already: found, joined
nodes      what each machine is asked before anything is sent   ray       workers as actors of a cluster
actor      what runs in each of them                            mailbox   where the driver fetches its renewals
"""
