"""A nightly job in Airflow 2.4 and later: run it, go on after a stop, then export the answers.

Put it into the folder of DAGs, the job file and its data where the worker sees them (`/srv/nightly`).
"""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone

from airflow import DAG
from airflow.exceptions import AirflowException, AirflowFailException
from airflow.operators.bash import BashOperator
from airflow.operators.python import PythonOperator

# 4, stopped early for a reason outside, is worth another try, which goes on where it stopped. A wrong job file (2)
# and refused rows (3) are no better the second time, so these fail at once.
NO_RETRY = frozenset({1, 2, 3})


def run(date: str) -> None:
    """The night of this date, whole or as far as it goes."""
    command = ["batchroute", "run", "nightly.toml", "--var", f"DATE={date}", "--quiet"]
    code = subprocess.run(command, cwd="/srv/nightly", check=False).returncode  # noqa: S603 - our own
    if code in NO_RETRY:
        raise AirflowFailException(f"batchroute run: exit code {code}")
    if code:
        raise AirflowException(f"batchroute run: exit code {code}; the next try goes on")


with DAG(
    dag_id="nightly",
    schedule="15 1 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),  # noqa: UP017 - workers may run an older Python
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 5, "retry_delay": timedelta(minutes=10)},
):
    answers = PythonOperator(task_id="answers", python_callable=run, op_args=["{{ ds }}"])
    load = BashOperator(
        task_id="load",
        bash_command="batchroute export runs/{{ ds }} answers-{{ ds }}.parquet",
        cwd="/srv/nightly",
    )
    answers >> load
