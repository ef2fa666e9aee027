"""A run by several processes: who they are and how they are reached; what they may use is lease's.

cluster  a Ray cluster that runs already: found, asked whether it answers, joined
nodes    what each machine is asked before anything is sent, and which cannot work
ray      workers as actors of a cluster
actor    what runs in each of them
mailbox  where a driver fetches the renewals of a worker that calls nobody
"""
