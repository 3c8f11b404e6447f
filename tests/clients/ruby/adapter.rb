# A RhoConnect app with the gateway's adapter.   ruby adapter.rb ADAPTER ACT USER
require_relative 'rhoconnect_stand_in'

adapter, act, user = ARGV
require adapter

begin
  case act
  when 'announce'
    Rhoconnect::Source.new('Product', :user, 'true').announce_changes(user)
  when 'silent'
    Rhoconnect::Source.new('Product', :user, nil).announce_changes(user)
    Rhoconnect::Source.new('Product', :app, 'true').announce_changes(user)
  when 'directly'
    Rhoconnect::PingJob.perform(user_id: user, message: 'from an adapter', badge: 3, sources: %w[Product News])
  end
  puts 'done'
rescue Rhopush::Error => error
  puts "#{error.class}: #{error.message}"
end
