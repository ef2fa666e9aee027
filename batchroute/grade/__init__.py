"""How good an answer is: answers -> grades in [0, 1].

    sides      both sides' judged answers to a pilot's rows -> their grades, and which rows are left out
    match      an answer against the right one: exact, number, choice, contains, f1
    rubric     one answer by itself: what a judge model is asked, and the points it gives
    pairwise   two answers side by side, in both orders: what is asked, and which one is preferred
    check      an answer against [check] of the job: a JSON Schema, a pattern, a function
    custom     a class of the user's that grades, and all calls of the user's code
    prompt     what both ask alike: the rules, the messages, the form of the verdict
    shown      conversations and answers as a judge is shown them, between tags
    verdict    a judge's text -> the value in it
    number     the last number of a text
    choice     the letter that an answer states
    embedded   the JSON value of an answer that has words or a fence around it
    final      the part of an answer that is meant as its end

Asks no endpoint, and knows no files of a run.
"""
