"""A run's pilot: rows that both sides are asked before anything else, what they show, and what follows from it.

    pilot    the steps, one after the other         asking  the rows on their way to both sides and back
    watch    later rows that both sides are asked   beside  pilot and watch, as the rows of a run see them
    reuse    an earlier run's pilot, where it fits
    routers  which router routes, and its scores    queue   requests that a lane is given as they come up
    sample   which rows, and what is asked of them  judge   grades of their answers, from whatever judges
    answers  what was answered, in store/pilot      decide  grades -> what is kept, and the choice
    files    what is left for people and programs  verdicts  a judge that is a model
    alone    a pilot without the rest of the run

Before it is asked: fit, whether all that it needs is there; cost, what it is expected to cost, and most, the most
that it can; plan, the pilot within a plan. After: found, what one that is at its end left.

Asking goes through the run's ordinary lanes. Knows nothing of how a row is asked that is none of the pilot's.
"""
