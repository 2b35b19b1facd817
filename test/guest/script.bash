# bash beyond POSIX: arrays, process substitution, coprocesses, job control, PIPESTATUS.
set -u
exec 2>/dev/null
a=(one "two three" four)
echo "${#a[@]}" "${a[1]}"
declare -A m=([x]=1 [y]=2)
echo "${m[x]}${m[y]}"
diff <(seq 5) <(seq 6)
true | false | true
echo "${PIPESTATUS[@]}"
coproc cat
echo through >&"${COPROC[1]}"
read -r line <&"${COPROC[0]}"
echo "$line"
eval "exec ${COPROC[1]}>&-"
wait
for i in {1..20}; do (exit $((i % 3))) & done
n=0
while wait -n; r=$?; [ $r != 127 ]; do n=$((n + r)); done
echo "sum $n"
set -m
sleep 50 &
kill -STOP %1
sleep 0.2
jobs -s | grep -c Stopped
kill -KILL %1
sleep 0.2
jobs -p | wc -l
printf '%s\n' {a..e} | mapfile -t lines
[[ "quire-42" =~ ([a-z]+)-([0-9]+) ]] && echo "${BASH_REMATCH[2]}"
timeout 0.3 sleep 10
echo "timeout $?"
ulimit -n 64
ulimit -n
