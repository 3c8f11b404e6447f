# A RhoConnect app with the gateway's adapter.   ruby adapter.rb ADAPTER ACT USER
# RAISE_ON: a comma-separated list for `raise_on`. BUDGET: seconds instead of the adapter's own budget.
require_relative 'rhoconnect_stand_in'

adapter, act, user = ARGV
require adapter
if ENV['BUDGET']
  Rhopush.send(:remove_const, :BUDGET_SECONDS)
  Rhopush.const_set(:BUDGET_SECONDS, ENV['BUDGET'].to_f)
end

begin
  Rhopush.configure(raise_on: ENV['RAISE_ON'].split(',')) if ENV['RAISE_ON']
  case act
  when 'announce'
    Rhoconnect::Source.new('Product', :user, 'true').announce_changes(user)
  when 'silent'
    Rhoconnect::Source.new('Product', :user, nil).announce_changes(user)
    Rhoconnect::Source.new('Product', :app, 'true').announce_changes(user)
  when 'directly'
    Rhoconnect::PingJob.perform(user_id: user, message: 'from an adapter', badge: 3, sources: %w[Product News])
  when 'texts' # as they come from Redis, from files and from other encodings
    message = { 'title' => "caf\xC3\xA9".b, 'body' => "\xFF".b, 'own' => "gr\u00FC\u00DFe".encode('UTF-16LE') }
    Rhoconnect::PingJob.perform('user_id' => [user.b], 'message' => message)
  when 'no json'
    Rhoconnect::PingJob.perform('user_id' => user, 'message' => Float::NAN)
  when 'threads'
    Array.new(8) { |i| Thread.new { Rhoconnect::PingJob.perform('user_id' => user, 'message' => i.to_s) } }.each(&:join)
  when 'resque' # a worker forks for each job, and finds the class by its name
    job = JSON.parse('{"class":"Rhoconnect::PingJob","args":[{"user_id":"' + user + '","message":"a job"}]}')
    Process.wait(fork { Object.const_get(job['class']).perform(*job['args']) })
  end
  puts 'done'
rescue Rhopush::Error => error
  puts "#{error.class}: #{error.message}"
rescue ArgumentError => error
  puts error.message
end
