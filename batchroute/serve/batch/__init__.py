"""An OpenAI Batch API in front of the runner: uploads, batches and their results, on disk.

files, batches  what is stored         batchapi  its HTTP face
queue, worker   who works on a batch   batchfile a batch's input, and its results as lines
sharing         limits and money that live requests and batches share
"""
