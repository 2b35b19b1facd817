# A POSIX shell at work: pipes, here-documents, background jobs, traps, signals.
echo start "$1"
seq 1 1000 | grep 7 | sed 's/7/seven/' | sort -r | head -n 5
cat <<END
here: $((6 * 7))
$(echo substituted; echo twice)
END
cat <<'END'
literal $x
END
f() { local a=$1; [ "$a" -le 1 ] && { echo 1; return; }; echo $((a * $(f $((a - 1))))); }
f 6
trap 'echo got USR1' USR1
kill -USR1 $$
(sleep 0.1; exit 7) &
wait $!
echo "job: $?"
sleep 100 &
kill -TERM $!
wait $! 2>/dev/null
echo "killed: $?"
(trap 'echo cleaning; exit 3' TERM; kill -TERM $(exec sh -c 'echo $PPID'); sleep 1)
echo "trapped: $?"
d=$(mktemp -d)
cd "$d"
for i in 1 2 3; do echo "line $i" >>file; done
while read -r a b; do echo "$b:$a"; done <file
mkfifo p
cat p &
echo through a fifo >p
wait
ls
rm -r "$d"
cd /
exec 3>&1
echo to three >&3
{ echo out; echo err >&2; } 2>&1 | sort
false | true
echo $?
case abc in a*c) echo glob ;; esac
echo /etc/pass*
trap 'echo bye' EXIT
exit 4
