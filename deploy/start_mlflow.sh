#!/bin/sh
# Start MLflow at MLFLOW_TRACKING_URI, unless it answers there already, and wait until it does.
# Usage: start_mlflow.sh BACKEND_STORE_URI LOG [SECONDS]
set -eu
answers() { python -c "import urllib.request as u; u.urlopen('$MLFLOW_TRACKING_URI/health', timeout=5)" 2>/dev/null; }
answers && exit 0
setsid nohup mlflow server --host 127.0.0.1 --port "${MLFLOW_TRACKING_URI##*:}" --workers 2 \
    --backend-store-uri "$1" --artifacts-destination "$TUNE_RUN_STORAGE/mlflow" >>"$2" 2>&1 </dev/null &
end=$(($(date +%s) + ${3:-180}))  # the first start creates the tables
while [ "$(date +%s)" -lt "$end" ]; do
    answers && exit 0
    sleep 1
done
echo "MLflow does not answer at $MLFLOW_TRACKING_URI. The end of $2:" >&2
tail -n 5 "$2" >&2
exit 1
